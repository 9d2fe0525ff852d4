import chex
import jax
import jax.numpy as jnp
import loss_oracles as oracle
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from loss_oracles import assert_close

from hfpl_jax.losses import (
    add_background,
    equivariance_loss,
    equivariant_cross_loss,
    keep_strongest,
)

SHAPES = [(1, 1, 1, 1), (2, 1, 6, 3), (3, 7, 4, 5), (2, 9, 13, 20)]


def random_scores(shape, seed=0):
    """Foreground scores of two views; many are 0, as those of absent classes are."""
    rng = np.random.default_rng(seed)
    return [(rng.random(shape) * (rng.random(shape) < 0.6)).astype(np.float32) for _ in range(2)]


def cross_inputs(shape, seed=0):
    """The scores of two views with their backgrounds, and corrected maps with
    backgrounds of their own.
    """
    foreground = [np.asarray(add_background(scores)) for scores in random_scores(shape, seed)]
    return foreground + random_scores((*shape[:3], shape[3] + 1), seed + 1)


cross_and_slopes = jax.jit(jax.value_and_grad(equivariant_cross_loss, argnums=(0, 1, 2, 3)))


@pytest.mark.parametrize("shape", SHAPES)
def test_equivariance_oracle(shape):
    first, second = random_scores(shape)
    value, slopes = jax.jit(jax.value_and_grad(equivariance_loss, argnums=(0, 1)))(first, second)
    difference = first.astype(np.float64) - second
    assert float(value) == pytest.approx(np.abs(difference).mean(), rel=1e-5)
    assert_close(slopes[0], np.sign(difference) / difference.size)
    assert_close(slopes[1], -np.sign(difference) / difference.size)


@pytest.mark.parametrize("shape", SHAPES)
def test_cross_oracle(shape):
    inputs = cross_inputs(shape)
    expected, *expected_slopes = oracle.equivariant_cross(*inputs)
    value, slopes = cross_and_slopes(*map(jnp.asarray, inputs))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    for slope, expected_slope in zip(slopes[2:], expected_slopes, strict=True):
        assert_close(slope, expected_slope)


def test_the_cams_are_teachers():
    _, slopes = cross_and_slopes(*map(jnp.asarray, cross_inputs((2, 5, 6, 3))))
    assert [bool(slope.any()) for slope in slopes] == [False, False, True, True]


def test_each_view_is_taught_by_the_other():
    first, second, *_ = cross_inputs((2, 5, 6, 3))
    assert (
        float(equivariant_cross_loss(first, second, keep_strongest(second), keep_strongest(first)))
        == 0.0
    )
    assert (
        float(equivariant_cross_loss(first, second, keep_strongest(first), keep_strongest(second)))
        > 0.1
    )


def test_a_fifth_of_every_images_values_counts():
    """25 values an image: the five largest, whichever pixel and channel they are in,
    and not those of another image.
    """
    corrected = np.zeros((2, 1, 5, 5), np.float32)
    corrected[0].ravel()[[3, 4, 10, 17, 24, 8]] = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    nothing = np.zeros_like(corrected)
    value, slopes = cross_and_slopes(nothing, nothing, jnp.asarray(corrected), jnp.asarray(nothing))
    assert float(value) == pytest.approx((0.9 + 0.8 + 0.7 + 0.6 + 0.5) / 5 / 2)
    assert np.flatnonzero(slopes[2]).tolist() == [3, 4, 10, 17, 24]


def test_strongest_foreground_stays_with_ties_and_background():
    scores = jnp.asarray([[0.3, 0.7, 0.2, 0.7], [1.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.9, 0.8]])[
        None, None
    ]
    kept = [[0.3, 0.7, 0.0, 0.7], [1.0, 0.0, 0.0, 0.0], [0.1, 0.0, 0.9, 0.0]]
    np.testing.assert_array_equal(keep_strongest(scores)[0, 0], np.asarray(kept, np.float32))


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_flat_and_equal_maps_have_finite_gradients(level):
    maps = [jnp.full((2, 4, 5, 3), level)] * 4
    value, slopes = cross_and_slopes(*maps)
    assert float(value) == 0.0
    assert all(np.isfinite(slope).all() for slope in slopes)
    slope = jax.grad(equivariance_loss)(maps[0], maps[1])
    assert not slope.any()  # equal maps are at rest


def test_float64_is_float64_throughout():
    inputs = [array.astype(np.float64) for array in cross_inputs((2, 5, 6, 3))]
    expected, *expected_slopes = oracle.equivariant_cross(*inputs)
    with jax.enable_x64(True):
        value, slopes = jax.value_and_grad(equivariant_cross_loss, argnums=(2, 3))(
            *map(jnp.asarray, inputs)
        )
        assert float(value) == pytest.approx(expected, rel=1e-12)
        for slope, expected_slope in zip(slopes, expected_slopes, strict=True):
            assert_close(slope, expected_slope, 1e-12)


def test_bfloat16_scores_are_accumulated_in_float32():
    inputs = [jnp.asarray(array, jnp.bfloat16) for array in cross_inputs((2, 20, 30, 3))]
    rounded = [np.asarray(array, np.float32) for array in inputs]
    value = equivariant_cross_loss(*inputs)
    assert value.dtype == equivariance_loss(inputs[0], inputs[1]).dtype == jnp.float32
    assert float(value) == pytest.approx(oracle.equivariant_cross(*rounded)[0], rel=1e-5)
    assert float(equivariance_loss(inputs[0], inputs[1])) == pytest.approx(
        np.abs(rounded[0] - rounded[1]).mean(), rel=1e-5
    )


def test_maps_of_different_sizes_or_without_background_are_refused():
    first, second, corrected_first, corrected_second = cross_inputs((2, 5, 6, 3))
    with pytest.raises(TypeCheckError, match="second"):
        equivariance_loss(first, second[:, :4])
    with pytest.raises(TypeCheckError, match="corrected_second"):
        equivariant_cross_loss(first, second, corrected_first, corrected_second[..., 1:])


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_value_and_gradient(self):
        inputs = cross_inputs((2, 6, 9, 4))
        value, slope = self.variant(jax.value_and_grad(equivariant_cross_loss, argnums=2))(
            *map(jnp.asarray, inputs)
        )
        expected, expected_slope, _ = oracle.equivariant_cross(*inputs)
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert_close(slope, expected_slope)
