import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.losses import find_peaks, peak_mean


def oracle(image, window, least):
    """The peaks of one map, from the definition."""
    height, width = image.shape
    reach = window // 2
    ordered = np.sort(image.ravel())
    bound = {
        "none": -np.inf,
        "median": ordered[(len(ordered) - 1) // 2],
        "mean": image.astype(np.float64).mean(),
        "max": ordered[-1],
    }.get(least, least)
    found = np.zeros(image.shape, bool)
    for row in range(height):
        for column in range(width):
            top, left = max(row - reach, 0), max(column - reach, 0)
            near = image[top : row + reach + 1, left : column + reach + 1]
            first = np.unravel_index(near.argmax(), near.shape)
            is_first = (top + first[0], left + first[1]) == (row, column)
            found[row, column] = is_first and image[row, column] >= bound
    return found


def random(*shape, levels=None):
    values = np.random.default_rng(0).normal(size=shape)
    return (np.round(values * levels) / levels if levels else values).astype(np.float32)


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("least", ["none", "median", "mean", "max", 0.3])
@pytest.mark.parametrize("levels", [None, 2])
def test_peaks_by_their_definition(window, least, levels):
    """Also where many values are equal."""
    maps = random(2, 6, 7, 3, levels=levels)
    found = np.asarray(find_peaks(maps, window=window, least=least))
    for image in range(2):
        for channel in range(3):
            expected = oracle(maps[image, ..., channel], window, least)
            np.testing.assert_array_equal(found[image, ..., channel], expected)


@pytest.mark.parametrize("least", ["none", "median", "mean", "max", 0.3])
def test_padding_is_no_part_of_a_map(least):
    maps = random(1, 4, 5, 3)
    padded, valid = np.full((1, 7, 9, 3), 50.0, np.float32), np.zeros((1, 7, 9), bool)
    padded[:, :4, :5], valid[:, :4, :5] = maps, True
    found = find_peaks(padded, valid, least=least)
    np.testing.assert_array_equal(found[:, :4, :5], find_peaks(maps, least=least))
    assert not found[:, 4:].any()
    assert not found[:, :, 5:].any()
    pooled = peak_mean(padded, valid, least=least)
    np.testing.assert_allclose(pooled, peak_mean(maps, least=least), rtol=1e-6)


def test_every_peak_gets_its_share_of_the_gradient():
    maps = random(2, 6, 7, 3)
    peaks = np.asarray(find_peaks(maps))
    slope = jax.grad(lambda maps: jnp.sum(peak_mean(maps)))(maps)
    count = peaks.sum((1, 2), keepdims=True)
    np.testing.assert_allclose(slope, peaks / count, rtol=1e-6)
    undivided = jax.grad(lambda maps: jnp.sum(peak_mean(maps, undivided=True)))(maps)
    np.testing.assert_array_equal(undivided, peaks.astype(np.float32))
    np.testing.assert_allclose(peak_mean(maps, undivided=True), peak_mean(maps), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 3, 1, 1)])
def test_flat_maps_have_one_peak_and_finite_gradients(shape, dtype):
    maps = jnp.full(shape, -2.0, dtype)
    assert (np.asarray(find_peaks(maps)).sum((1, 2)) == 1).all()
    value, slope = jax.value_and_grad(lambda maps: jnp.sum(peak_mean(maps, enlarge=8)))(maps)
    assert float(value) == pytest.approx(-2.0 * shape[0] * shape[3])
    assert np.isfinite(np.asarray(slope, np.float32)).all()


def test_no_peak_is_a_zero():
    value, slope = jax.value_and_grad(lambda maps: jnp.sum(peak_mean(maps, least=9.0)))(
        random(1, 4, 4, 2)
    )
    assert float(value) == 0.0
    assert not slope.any()
