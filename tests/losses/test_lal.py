import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hfpl_jax.errors import InputError
from hfpl_jax.losses.cross_entropy import segmentation_loss
from hfpl_jax.losses.lal import (
    center_losses,
    locally_adaptive_loss,
    minkowski_mean,
    per_class_losses,
)

MODES = {
    "center": {"mode": "center", "window": 3, "stride": 2, "sigma": 1.5},
    "center, flat": {"mode": "center", "window": 5, "sigma": np.inf},
    "per_class": {"mode": "per_class", "window": 3},
}


def windows_of(logits, labels, mode, window, stride=1, sigma=2.0):
    """Float64, one window after the other: the gradient of each loss beside it."""
    b, h, w, k = logits.shape
    step = stride if mode == "center" else window
    for image, row, column in np.ndindex(b, h - window + 1, w - window + 1):
        if row % step or column % step:
            continue
        part = (image, slice(row, row + window), slice(column, column + window))
        z, y = logits[part].astype(np.float64), labels[part]
        away = np.abs(np.arange(window) - window // 2)
        weights = np.exp(-(np.maximum(away[:, None], away) ** 2) / (2 * sigma**2))
        targets = [y[window // 2, window // 2]] if mode == "center" else np.unique(y)
        for target in targets:
            if target == 255:
                continue
            share = (y == target) * (weights if mode == "center" else 1.0)
            share = share / share.sum()
            v = np.einsum("xy,xyk->k", share, z)
            p = np.exp(v - v.max()) / np.exp(v - v.max()).sum()
            slope = np.zeros((b, h, w, k))
            slope[part] = share[..., None] * (p - np.eye(k)[target])
            yield -np.log(p[target]), slope


def oracle(logits, labels, k, **window):
    losses, slopes = zip(*windows_of(logits, labels, **window), strict=True)
    losses = np.array(losses)
    mean = np.mean(losses**k) ** (1 / k)
    weights = mean ** (1 - k) * losses ** (k - 1) / len(losses)
    return mean, np.einsum("m,mbhwk->bhwk", weights, slopes)


def example(seed=0, shape=(2, 7, 8, 4)):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, shape).astype(np.float32)
    labels = rng.choice([*range(shape[-1]), 255], shape[:-1], p=[0.3, 0.3, 0.15, 0.1, 0.15])
    return logits, labels.astype(np.uint8)


@pytest.mark.parametrize("k", [1, 2.5, 5])
@pytest.mark.parametrize("mode", MODES)
def test_loss_and_gradient_equal_numpy(mode, k):
    logits, labels = example()
    loss = jax.jit(
        jax.value_and_grad(lambda z: locally_adaptive_loss(z, labels, k=k, **MODES[mode]))
    )
    value, slope = loss(logits)
    expected, expected_slope = oracle(logits, labels, k, **MODES[mode])
    assert float(value) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-6 * k)


@pytest.mark.parametrize("mode", ["center", "per_class"])
def test_a_window_of_one_pixel_and_the_mean_are_the_cross_entropy(mode):
    logits, labels = example(1)
    options = {"mode": mode, "window": 1, "k": 1}
    value, slope = jax.value_and_grad(locally_adaptive_loss)(logits, labels, **options)
    expected, expected_slope = jax.value_and_grad(segmentation_loss)(logits, labels)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-7)


def test_which_windows_count():
    """Around the centre alone a class counts, or every class of a tile."""
    labels = np.full((1, 5, 5), 255, np.uint8)
    labels[0, 1, 1:3], labels[0, 4] = (0, 2), 1  # the last row is in no tile of 2
    logits = np.zeros((1, 5, 5, 3), np.float32)
    around = center_losses(logits, labels, window=3)
    assert np.argwhere(np.asarray(around.counted)[0]).tolist() == [[0, 0], [0, 1]]
    tiles = per_class_losses(logits, labels, window=2)
    assert np.argwhere(np.asarray(tiles.counted)[0]).tolist() == [[0, 0, 0], [0, 1, 2]]
    for found in (around, tiles):
        np.testing.assert_allclose(found.losses, np.log(3) * np.asarray(found.counted), rtol=1e-6)


EDGES = {
    "no labelled pixel": (255, 1.0, 0.0),
    "one class": (0, 1.0, None),
    "all losses 0": (0, 0.0, 0.0),
    "huge logits": (1, 1e30, None),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("k", [1, 1.5, 5])
def test_finite_at_the_edges(mode, k, edge):
    """Where all losses are 0, the logits of the right class are above the others by more
    than float32 can tell from infinity.
    """
    label, scale, expected = EDGES[edge]
    logits = scale * example(2)[0] if scale else np.zeros((2, 7, 8, 4), np.float32)
    logits[..., 0] += 1e4 * (not scale)
    labels = np.full((2, 7, 8), label, np.uint8)
    value, slope = jax.value_and_grad(locally_adaptive_loss)(logits, labels, k=k, **MODES[mode])
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    if expected is not None:
        assert float(value) == expected
        assert not np.asarray(slope).any()


def test_powers_do_not_overflow():
    losses = jnp.array([1e20, 5e19, 7.0])
    counted = jnp.array([True, True, False])
    expected = 1e20 * ((1 + 0.5**5) / 2) ** 0.2
    assert float(minkowski_mean(losses, counted, k=5)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mode", ["center", "per_class"])
def test_the_mean_is_that_of_the_global_batch(mode):
    """Shards have different numbers of windows that count."""
    logits, labels = example(3, (8, 5, 6, 4))
    labels[3:6] = 255
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",), axis_types=(AxisType.Auto,))
    loss = functools.partial(locally_adaptive_loss, **MODES[mode], k=5)
    divided = jax.device_put((logits, labels), NamedSharding(mesh, PartitionSpec("data")))
    value, slope = jax.jit(jax.value_and_grad(loss))(*divided)
    expected, expected_slope = oracle(logits, labels, 5, **MODES[mode])
    assert float(value) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-5)


def test_bfloat16_is_computed_in_float32():
    logits, labels = example(4)
    rounded = jnp.asarray(logits, jnp.bfloat16)
    expected, _ = oracle(np.asarray(rounded, np.float32), labels, 5, **MODES["center"])
    value = locally_adaptive_loss(rounded, labels, k=5, **MODES["center"])
    assert value.dtype == jnp.float32
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_windows_that_do_not_fit():
    logits, labels = example()
    with pytest.raises(InputError, match=r"^A window of 4 pixels has no centre\. Make it odd\.$"):
        center_losses(logits, labels, window=4)
    for losses in (center_losses, per_class_losses):
        with pytest.raises(InputError, match=r"^No window of 9 x 9 fits into logits of 7 x 8\. "):
            losses(logits, labels, window=9)


@pytest.mark.optimized
@pytest.mark.parametrize("mode", ["center", "per_class"])
def test_no_array_holds_the_windows(mode):
    """49 copies of the logits, forward and backward."""
    logits = jax.ShapeDtypeStruct((2, 41, 41, 21), jnp.float32)
    labels = jax.ShapeDtypeStruct((2, 41, 41), jnp.uint8)
    loss = jax.value_and_grad(functools.partial(locally_adaptive_loss, mode=mode))
    memory = jax.jit(loss).lower(logits, labels).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 3 * np.prod(logits.shape) * 4
