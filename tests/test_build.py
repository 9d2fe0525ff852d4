"""The networks of the recipes: shapes alone, so the full-size ones cost nothing."""

import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from end_to_end import recipe
from flax import traverse_util

from hfpl_jax import build
from hfpl_jax.build import (
    build_final_networks,
    build_network,
    frozen_patterns,
    make_network,
    patterns_of,
    variable_shapes,
)
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.resnet38 import ResNet38
from hfpl_jax.section import value_of
from hfpl_jax.training.optimizer import split_frozen

SECTIONS = ("train", "refine.random_walk.affinity", "segmentation")


def networks(config):
    return {section: make_network(config, section, 20) for section in SECTIONS}


def parameters(network):
    return variable_shapes(network)["params"]


def frozen_by(patterns, network):
    paths = traverse_util.flatten_dict(parameters(network), sep="/")
    return {path for path in paths if any(re.search(pattern, path) for pattern in patterns)}


RESNET = ("/scale$", "^backbone/.*/bias$")
FROZEN = {
    "data=voc": (
        ("^backbone/stem/", "^backbone/layer1/", *RESNET),
        ("^backbone/stem/", "^backbone/layer1/", *RESNET),
        RESNET,
    ),
    "small": (("^backbone/stem/", "^backbone/layer[12]/", *RESNET),) * 3,
    "published": (
        ("^backbone/conv1a/", r"^backbone/b2(_\d)?/", r"/bn\w*/"),
        ("^backbone/conv1a/", r"^backbone/b2(_\d)?/", r"/bn\w*/"),
        (r"/bn\w*/", r"^head/fov2?/(scale|bias)$"),
    ),
}
"""By the names of the networks' own parts, of the three trainings."""


@pytest.mark.parametrize(
    ("switches", "backbone"),
    [
        ("data=voc", "resnet50"),
        ("data=voc", "resnet101"),
        ("small", "resnet50"),
        ("published", "resnet38"),
    ],
)
def test_what_is_frozen_in_the_networks_of_a_recipe(switches, backbone):
    config = recipe("seam", switches, model__backbone=backbone)
    for (section, network), expected in zip(
        networks(config).items(), FROZEN[switches], strict=True
    ):
        frozen = frozen_by(frozen_patterns(config, section, network), network)
        assert frozen == frozen_by(expected, network)
        assert all(frozen_by([pattern], network) for pattern in expected)


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_parameter_of_a_backbone_is_in_one_stage(backbone):
    network = build_network(recipe("cam", "", model__backbone=backbone), 20)
    stages = network.backbone.stages
    parts = [
        frozen_by(patterns_of(network, stages=count, norms=False), network)
        for count in range(len(stages) + 1)
    ]
    assert parts[0] == set()
    assert all(before < after for before, after in itertools.pairwise(parts))
    assert parts[-1] == {path for path in frozen_by([""], network) if path.startswith("backbone/")}


@pytest.mark.parametrize("preset", ["", "published"])
def test_patterns_of_a_preset_fit_its_networks(preset):
    config = recipe("seam", preset)
    for section, network in networks(config).items():
        params = parameters(network)
        paths = list(traverse_util.flatten_dict(params, sep="/"))
        trainable, frozen = split_frozen(params, frozen_patterns(config, section, network))
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
        section: split_frozen(parameters(net), frozen_patterns(config, section, net))[1]
        for section, net in networks(config).items()
    }
    for section in SECTIONS[:2]:
        kernels = {path.split("/")[1] for path in frozen[section] if path.endswith("kernel")}
        assert kernels == {"conv1a", "b2", "b2_1", "b2_2"}
    assert not [path for path in frozen["segmentation"] if path.endswith("kernel")]
    final = make_network(config, "segmentation", 20)
    assert final.batch_norm_momentum == final.backbone.batch_norm_momentum == 0.0003


def test_affinity_net_keeps_the_statistics_of_its_file_also_under_puzzlecam():
    """As published; PuzzleCAM's classifier alone has those of its batches."""
    config = recipe("puzzle", "")
    config.model.weights, config.refine.name = "resnet50.safetensors", "random_walk"
    kept = [make_network(config, section, 20).frozen_batch_norm for section in SECTIONS[:2]]
    assert kept == [False, True]


@pytest.mark.parametrize("section", SECTIONS)
def test_nothing_of_a_random_network_is_frozen(section):
    config = recipe("seam", "")
    config.segmentation.frozen_batch_norm = True
    config.model.weights = "resnet50.safetensors"
    network = make_network(config, section, 20)
    patterns = frozen_patterns(config, section, network)
    assert patterns
    assert network.frozen_batch_norm
    config.model.weights = "random"
    assert frozen_patterns(config, section, network) == ()
    assert not make_network(config, section, 20).frozen_batch_norm
    value_of(config, section).init_from = "runs/a/train"  # whose parameters are not random
    assert frozen_patterns(config, section, network) == patterns
    assert make_network(config, section, 20).frozen_batch_norm


def test_what_is_frozen_of_a_network_is_frozen_of_each_of_a_pair():
    config = recipe("cam", "data=voc", model__weights="a.npz", segmentation__freeze_stages=2)
    one = make_network(config, "segmentation", 3)
    config.segmentation.objective = "cotraining"
    pair = build_final_networks(config, 3)
    alone, both = (
        frozen_by(frozen_patterns(config, "segmentation", each), each) for each in (one, pair)
    )
    assert alone
    assert both == {f"{name}/{path}" for name in ("first", "second") for path in alone}


def test_shapes_and_numbers_of_a_network_are_traced_once(monkeypatch):
    config, traced, init = recipe("quickstart"), [], nn.Module.init
    network = build_network(config, 3)

    def counted(*arguments, **named):
        traced.append(arguments)
        return init(*arguments, **named)

    monkeypatch.setattr(nn.Module, "init", counted)
    build._init.cache_clear()
    variable_shapes.cache_clear()
    shapes = variable_shapes(network)
    variables = build.initial_variables(config, network, None)
    assert len(traced) == 1
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, shapes)
