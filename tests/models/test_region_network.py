"""Means over regions, and the network that classifies them."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.region_means import region_means
from hfpl_jax.models.region_network import RegionNetwork

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "mcof_ours.npz"


def test_the_means_of_the_golden():
    with np.load(GOLDEN) as golden:
        features, pieces = golden["features"], golden["superpixels"]
        expected = golden["sp_features"]
    means, pixels = region_means(features[None].astype(np.float32), pieces[None], 24)
    np.testing.assert_allclose(means[0, :20], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(pixels[0, :20], np.bincount(pieces.ravel()))
    assert not np.asarray(means[0, 20:]).any()
    assert not np.asarray(pixels[0, 20:]).any()


@pytest.mark.parametrize(("size", "cell"), [((16, 24), 8), ((13, 21), 4), ((5, 7), 8)])
def test_a_pixel_counts_with_the_feature_of_its_cell(size, cell):
    rng = np.random.default_rng(0)
    cells = tuple(-(-side // cell) for side in size)
    features = rng.standard_normal((2, *cells, 3)).astype(np.float32)
    regions = rng.integers(-1, 6, (2, *size)).astype(np.int32)
    means, pixels = region_means(features, regions, 7)
    for image in range(2):
        for region in range(7):
            places = np.argwhere(regions[image] == region)
            assert pixels[image, region] == len(places)
            own = [features[image, y // cell, x // cell].astype(np.float64) for y, x in places]
            expected = np.mean(own, axis=0) if own else np.zeros(3)
            np.testing.assert_allclose(means[image, region], expected, atol=1e-6)


def test_gradients_are_finite_without_a_region():
    features = jnp.ones((1, 2, 2, 3))
    slope = jax.grad(lambda x: region_means(x, jnp.full((1, 16, 16), -1), 4)[0].sum())(features)
    assert not np.asarray(slope).any()


@pytest.fixture(scope="module")
def network():
    network = RegionNetwork(ResNet(18, 8, width=8), 3, 5)
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return network, variables


def test_logits_of_regions(network):
    module, variables = network
    images = jax.random.normal(jax.random.key(1), (2, 32, 48, 3))
    regions = jnp.tile(jnp.arange(48) // 12, (2, 32, 1))
    output = jax.jit(module.apply)(variables, images, regions=regions)
    assert output.logits.shape == (2, 5, 4)
    np.testing.assert_array_equal(output.pixels, np.array([[384.0] * 4 + [0.0]] * 2))
    params = variables["params"]
    features = module.backbone.clone(parent=None).apply(
        {name: part["backbone"] for name, part in variables.items()}, images
    )[module.backbone.head_feature]
    means, _ = region_means(features, regions, 5)
    hidden = np.maximum(means @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    expected = hidden @ params["scores"]["kernel"] + params["scores"]["bias"]
    assert hidden.shape[-1] == 512
    np.testing.assert_allclose(output.logits, expected, rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing(network):
    module, variables = network
    images = jax.random.normal(jax.random.key(1), (1, 30, 44, 3))
    regions = jnp.tile(jnp.arange(44) // 12, (1, 30, 1))
    alone = module.apply(variables, images, jnp.array([[30, 44]]), regions=regions)
    wide = ((0, 0), (0, 18), (0, 20))
    padded = module.apply(
        variables,
        jnp.pad(images, (*wide, (0, 0))),
        jnp.array([[30, 44]]),
        regions=jnp.pad(regions, wide, constant_values=-1),
    )
    np.testing.assert_allclose(padded.logits[:, :4], alone.logits[:, :4], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(padded.pixels, alone.pixels)
