"""Ranked pooling beside NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.losses.ranked_pooling import ranked_mean


def maps(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_higher_pixels_count_more():
    given = maps(2, 3, 4, 5)
    ranked = -np.sort(-given.reshape(2, 12, 5).astype(np.float64), axis=1)
    weights = 0.9 ** np.arange(12)
    expected = np.einsum("k,bkc->bc", weights, ranked) / weights.sum()
    np.testing.assert_allclose(ranked_mean(given, decay=0.9), expected, rtol=1e-5, atol=1e-6)


def test_its_ends_are_the_mean_and_the_maximum():
    given = maps(2, 3, 4, 5)
    np.testing.assert_allclose(ranked_mean(given, decay=1.0), given.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(ranked_mean(given, decay=0.0), given.max((1, 2)), atol=1e-6)


def test_padding_does_not_count():
    given, valid = maps(2, 3, 4, 5), np.zeros((2, 3, 4), bool)
    valid[0, :2, :3], valid[1] = True, True
    found = ranked_mean(given, valid)
    np.testing.assert_allclose(found[:1], ranked_mean(given[:1, :2, :3]), rtol=1e-5)
    np.testing.assert_allclose(found[1:], ranked_mean(given[1:]), rtol=1e-5)
    assert not np.asarray(ranked_mean(given, np.zeros_like(valid))).any()


@pytest.mark.parametrize("given", [np.zeros((1, 3, 3, 2)), np.ones((1, 1, 1, 2))])
def test_finite_gradients_where_all_are_equal(given):
    slope = jax.grad(lambda maps: ranked_mean(maps).sum())(jnp.asarray(given, jnp.float32))
    assert np.isfinite(slope).all()
    assert float(slope.sum()) == pytest.approx(2.0, rel=1e-5)
