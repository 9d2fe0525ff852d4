"""The networks of the recipes: shapes alone, so the full-size ones cost nothing."""

import re

import jax
import jax.numpy as jnp
import pytest
from end_to_end import recipe
from flax import traverse_util

from hfpl_jax.build import build_affinity_network, build_network, build_segmentation_network
from hfpl_jax.errors import InputError
from hfpl_jax.models.resnet38 import ResNet38
from hfpl_jax.training.optimizer import split_frozen


def networks(config):
    return {
        "train": build_network(config, 20),
        "affinity": build_affinity_network(config),
        "segmentation": build_segmentation_network(config, 20),
    }


def parameters(network):
    shape = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), shape)["params"]


@pytest.mark.parametrize("preset", ["", "published"])
def test_patterns_of_a_preset_fit_its_networks(preset):
    config = recipe("seam", preset)
    for section, network in networks(config).items():
        params = parameters(network)
        trainable, frozen = split_frozen(
            params, config[section].freeze
        )  # raises if a pattern matches nothing
        paths = list(traverse_util.flatten_dict(params, sep="/"))
        for pattern, _ in config[section].multipliers:
            if not pattern.startswith("/bias"):  # ResNets have none but those of the normalisation
                assert any(re.search(pattern, path) for path in paths), (section, pattern)
        assert all(path.endswith(("/kernel", "/bias")) for path in trainable)
        assert not [path for path in trainable if "bn_" in path]  # every scale and shift is frozen
        assert not any("head" in path and path.endswith("kernel") for path in frozen)


def test_published_freezes_the_first_blocks_of_the_classifier_alone():
    config = recipe("seam", "published")
    assert isinstance(build_network(config, 20).backbone, ResNet38)
    frozen = {
        section: split_frozen(parameters(net), config[section].freeze)[1]
        for section, net in networks(config).items()
    }
    for section in ("train", "affinity"):
        kernels = {path.split("/")[1] for path in frozen[section] if path.endswith("kernel")}
        assert kernels == {"conv1a", "b2", "b2_1", "b2_2"}
    assert not [path for path in frozen["segmentation"] if path.endswith("kernel")]
    assert build_segmentation_network(config, 20).backbone.batch_norm_momentum == 0.0003


def test_resnet38_has_one_output_stride():
    config = recipe("seam", "published")
    config.model.output_stride = 16
    with pytest.raises(
        InputError, match=r"output_stride = 16, but ResNet-38 has output stride 8 alone"
    ):
        build_network(config, 20)
