"""The networks of the recipes: shapes alone, so the full-size ones cost nothing."""

import re

import jax
import jax.numpy as jnp
import pytest
from end_to_end import recipe
from flax import traverse_util

from hfpl_jax.build import build_network, frozen_patterns, make_network
from hfpl_jax.models.backbones.resnet38 import ResNet38
from hfpl_jax.section import value_of
from hfpl_jax.training.optimizer import check_freeze, split_frozen

SECTIONS = ("train", "refine.random_walk.affinity", "segmentation")


def networks(config):
    return {section: make_network(config, section, 20) for section in SECTIONS}


def parameters(network):
    shape = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), shape)["params"]


@pytest.mark.parametrize("preset", ["", "published"])
def test_patterns_of_a_preset_fit_its_networks(preset):
    config = recipe("seam", preset)
    for section, network in networks(config).items():
        params = parameters(network)
        paths = list(traverse_util.flatten_dict(params, sep="/"))
        check_freeze(paths, value_of(config, section).freeze, section)
        trainable, frozen = split_frozen(params, value_of(config, section).freeze)
        for pattern, _ in value_of(config, section).multipliers:
            if not pattern.startswith("/bias"):  # ResNets have none but those of the normalisation
                assert any(re.search(pattern, path) for path in paths), (section, pattern)
        assert all(path.endswith(("/kernel", "/bias")) for path in trainable)
        assert not [path for path in trainable if "bn_" in path]  # every scale and shift is frozen
        assert not any("head" in path and path.endswith("kernel") for path in frozen)


def test_published_freezes_the_first_blocks_of_the_classifier_alone():
    config = recipe("seam", "published")
    assert isinstance(build_network(config, 20).backbone, ResNet38)
    frozen = {
        section: split_frozen(parameters(net), value_of(config, section).freeze)[1]
        for section, net in networks(config).items()
    }
    for section in SECTIONS[:2]:
        kernels = {path.split("/")[1] for path in frozen[section] if path.endswith("kernel")}
        assert kernels == {"conv1a", "b2", "b2_1", "b2_2"}
    assert not [path for path in frozen["segmentation"] if path.endswith("kernel")]
    final = make_network(config, "segmentation", 20)
    assert final.batch_norm_momentum == final.backbone.batch_norm_momentum == 0.0003


@pytest.mark.parametrize("section", SECTIONS)
def test_nothing_of_a_random_network_is_frozen(section):
    config = recipe("seam", "")
    config.segmentation.frozen_batch_norm = True
    config.model.weights = "resnet50.safetensors"
    assert frozen_patterns(config, section) == tuple(value_of(config, section).freeze) != ()
    assert make_network(config, section, 20).frozen_batch_norm
    config.model.weights = "random"
    assert frozen_patterns(config, section) == ()
    assert not make_network(config, section, 20).frozen_batch_norm
    value_of(config, section).init_from = "runs/a/train"  # whose parameters are not random
    assert frozen_patterns(config, section) == tuple(value_of(config, section).freeze)
    assert make_network(config, section, 20).frozen_batch_norm
