import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models.suppression import Suppression, suppress


def oracle(x, delta):
    """In float64, from its definition."""
    rectified = np.maximum(np.asarray(x, np.float64), 0)
    return np.minimum(rectified, np.asarray(delta, np.float64) * rectified.max((1, 2), keepdims=1))


def learnt(x, kernel):
    means = np.maximum(np.asarray(x, np.float64), 0).mean((1, 2))
    return (1 / (1 + np.exp(-means @ np.asarray(kernel, np.float64))))[:, None, None]


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 5, 7, 4)).astype(np.float32)


@pytest.mark.parametrize("delta", [0.1, 0.55, 1.0])
def test_equals_float64(x, delta):
    np.testing.assert_allclose(suppress(x, delta), oracle(x, delta), rtol=1e-6)


def test_one_delta_an_image_and_channel(x):
    delta = np.random.default_rng(1).uniform(0.2, 0.9, (2, 4)).astype(np.float32)
    expected = oracle(x, delta[:, None, None])
    np.testing.assert_allclose(suppress(x, delta), expected, rtol=1e-6)


def test_a_share_of_one_is_a_relu(x):
    np.testing.assert_array_equal(suppress(x, 1.0), np.maximum(x, 0))


def test_of_equal_maxima_the_first_gets_the_gradient():
    x = jnp.asarray([3.0, 1.0, 3.0, 2.0]).reshape(1, 2, 2, 1)
    found = jax.grad(lambda x: suppress(x, 0.5).sum())(x)
    # Cut are both threes and the two, each of which would hand on a half.
    np.testing.assert_array_equal(found.reshape(4), [1.5, 1.0, 0.0, 0.0])


def test_the_learnt_share(x):
    kernel = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)
    found = Suppression(None).apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(found, oracle(x, learnt(x, kernel)), rtol=1e-5)


def test_it_begins_near_a_half(x):
    variables = Suppression(None).init(jax.random.key(0), x)
    assert variables["params"]["kernel"].shape == (4, 4)
    assert float(jnp.abs(variables["params"]["kernel"]).max()) < 0.05
    peaks = Suppression(None).apply(variables, x).max((1, 2)) / x.max((1, 2))
    np.testing.assert_allclose(peaks, 0.5, atol=0.05)
    assert not jax.tree.leaves(Suppression(0.55).init(jax.random.key(0), x))


@pytest.mark.parametrize("delta", [0.55, None])
def test_padding_does_not_count(x, delta):
    """Whatever it holds; the maximum and the mean are of the image alone."""
    kernel = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)
    variables = {} if delta else {"params": {"kernel": kernel}}
    sizes = np.array([[5, 7], [3, 4]])
    padded = x.copy()
    padded[1, 3:], padded[1, :, 4:] = 100.0, 100.0
    apply = Suppression(delta).apply
    found = apply(variables, padded, sizes)[1, :3, :4]
    np.testing.assert_allclose(found, apply(variables, x[1:, :3, :4])[0], rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("value", [0.0, -1.0, 1.0, 1e30])
def test_flat_and_empty_channels_have_finite_gradients(value, side, dtype):
    x = jnp.full((1, side, side, 2), value, dtype)

    def total(x, kernel):
        return jnp.sum(Suppression(None).apply({"params": {"kernel": kernel}}, x))

    kernel = jnp.full((2, 2), 1e-3)
    value, slopes = jax.value_and_grad(total, argnums=(0, 1))(x, kernel)
    assert value.dtype == dtype
    assert np.isfinite(float(value))
    assert all(np.isfinite(slope.astype(np.float32)).all() for slope in slopes)
