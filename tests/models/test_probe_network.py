"""The head on kept features, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from staged_backbone import Stages
from test_resnet import photographs

from hfpl_jax.models.frozen_features import FrozenFeatures
from hfpl_jax.models.probe_network import ProbeNetwork
from hfpl_jax.resize import interpolation_matrix

LAYERS = ("layer4", "layer2")
SIZE = (48, 64)


def network_of(**options):
    frozen = FrozenFeatures(LAYERS, 0, 64)
    return ProbeNetwork(Stages(), 3, **{"frozen": frozen, "width": 7, **options})


def variables_of(network):
    """Random gains too."""
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    for number, name in enumerate(LAYERS):
        gain = np.random.default_rng(number).normal(size=network.width).astype(np.float32)
        variables["params"][f"gain_{name}"] = gain
    return variables


def resized(maps, size, align_corners):
    rows, columns = (
        interpolation_matrix(cells, side, align_corners).astype(np.float64)
        for cells, side in zip(maps.shape[1:3], size, strict=True)
    )
    return np.einsum("Hh,bhwk,Ww->bHWk", rows, maps, columns)


def convolved(maps, kernel):
    side = kernel.shape[0]
    padded = np.pad(maps, ((0, 0), *(((side // 2,) * 2,) * 2), (0, 0)))
    height, width = maps.shape[1:3]
    return sum(
        padded[:, row : row + height, column : column + width] @ kernel[row, column]
        for row in range(side)
        for column in range(side)
    )


def by_hand(params, features, decoders, upsample):
    grid = features["layer2"].shape[1:3]
    fused = 0.0
    for name in LAYERS:
        x = features[name].astype(np.float64) @ params[f"project_{name}"]["kernel"]
        x = x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)
        fused += params[f"gain_{name}"] * resized(x, grid, False)
    x = np.maximum(fused, 0)
    x = resized(x, [upsample * side for side in grid], True)
    for number in range(decoders):
        x = np.maximum(convolved(x, np.asarray(params[f"decoder{number}"]["kernel"])), 0)
    return x @ params["head"]["kernel"]


@pytest.mark.parametrize(
    ("decoder", "upsample", "decoders"), [("1x1", 1, 1), ("1x1", 4, 1), ("3x3", 2, 2)]
)
def test_the_head_is_what_it_says(decoder, upsample, decoders):
    network = network_of(decoder=decoder, upsample=upsample)
    variables = variables_of(network)
    images = photographs(2, *SIZE, 3)
    logits = jax.jit(network.apply)(variables, images).logits
    params = jax.tree.map(np.asarray, variables["params"])
    features = Stages().apply({"params": params["backbone"]}, images)
    kept = {name: np.asarray(features[name].astype(jnp.float16)) for name in LAYERS}
    expected = by_hand(params, kept, decoders, upsample)
    assert logits.shape == (2, upsample * 6, upsample * 8, 3)
    assert network.output_stride == 8 // upsample
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    told = jax.jit(lambda kept: network.apply(variables, kept, method="told"))(kept)
    np.testing.assert_allclose(told.logits, logits, atol=1e-6)


def test_padding_changes_nothing():
    """Also where the last cell of the coarser feature reaches further than the finer's."""
    network = network_of(decoder="3x3", upsample=2)
    variables, apply = variables_of(network), jax.jit(network.apply)
    small, large = photographs(1, 40, 52, 3), photographs(1, 80, 64, 3, seed=1)
    padded = np.full((2, 80, 64, 3), 9.0, np.float32)
    padded[0, :40, :52], padded[1] = small[0], large[0]
    sizes = jnp.array([[40, 52], [80, 64]])
    both = apply(variables, padded, sizes).logits
    alone = apply(variables, small, jnp.array([[40, 52]])).logits[:, :10, :13]
    np.testing.assert_allclose(both[:1, :10, :13], alone, atol=1e-5)
    np.testing.assert_allclose(both[1:], apply(variables, large, sizes[1:]).logits, atol=1e-5)


def test_where_features_are_zero_the_logits_are():
    network = network_of()
    kept = {"layer4": jnp.zeros((1, 2, 2, 12)), "layer2": jnp.zeros((1, 4, 4, 8))}
    logits = network.apply(variables_of(network), kept, method="told").logits
    np.testing.assert_array_equal(logits, np.zeros((1, 4, 4, 3)))
