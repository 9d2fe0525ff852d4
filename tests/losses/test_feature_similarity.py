import math

import chex
import jax
import jax.numpy as jnp
import loss_oracles as oracle
import numpy as np
import pytest
from loss_oracles import assert_close

import hfpl_jax.losses.feature_similarity as module
from hfpl_jax.losses import feature_similarity_loss, similarity_scores


def random_inputs(shape, seed=0):
    """Images that go a little beyond [0, 1], and scores."""
    b, h, w, _ = shape
    rng = np.random.default_rng(seed)
    images = rng.uniform(-0.1, 1.1, (b, h, w, 3)).astype(np.float32)
    images[rng.random((b, h, w)) < 0.3] = 0.4  # equal colours exist, and pull
    return images, rng.random(shape).astype(np.float32)


def value_and_grad(images, scores, **options):
    loss_and_slope = jax.value_and_grad(lambda y, x: feature_similarity_loss(x, y, **options))
    return jax.jit(loss_and_slope)(jnp.asarray(scores), jnp.asarray(images))


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (3, 1, 7, 2), (2, 5, 1, 3), (2, 6, 9, 4), (1, 13, 4, 21)]
)
@pytest.mark.parametrize(("mu", "sigma"), [(2.5, 5.0), (1.0, None), (3.5, 0.7)])
def test_oracle(shape, mu, sigma):
    images, scores = random_inputs(shape)
    expected, slope = oracle.feature_similarity(images, scores, mu=mu, sigma=sigma)
    value, gradient = value_and_grad(images, scores, mu=mu, sigma=sigma)
    assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-5 * np.abs(slope).max() + 1e-7)


def test_several_whole_tiles():
    images, scores = random_inputs(
        (1, 40, 40, 3)
    )  # 1600 pixels: seven tiles of six rows, the last one comes round to the first rows
    expected, slope = oracle.feature_similarity(images, scores)
    value, gradient = value_and_grad(images, scores)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(gradient, slope)


def test_rows_longer_than_a_tile():
    images, scores = random_inputs((1, 2, module.TILE_PIXELS + 100, 2))
    expected, slope = oracle.feature_similarity(images, scores, window=10)
    value, gradient = value_and_grad(images, scores, window=10)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(gradient, slope)


@pytest.mark.parametrize("tile_pixels", [1, 5, 11, 25])
@pytest.mark.parametrize("window", [None, 2, 50])
def test_tiles_do_not_matter(monkeypatch, tile_pixels, window):
    images, scores = random_inputs((2, 7, 11, 3))
    expected, slope = oracle.feature_similarity(images, scores, sigma=2.0, window=window)
    monkeypatch.setattr(module, "TILE_PIXELS", tile_pixels)
    value, gradient = value_and_grad(images, scores, sigma=2.0, window=window)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(gradient, slope)


@pytest.mark.parametrize("window", [0, 1, 3, 6])
@pytest.mark.parametrize("sigma", [1.5, None])
def test_window_drops_the_pairs_beyond_it(window, sigma):
    images, scores = random_inputs((2, 9, 12, 3))
    expected, slope = oracle.feature_similarity(images, scores, sigma=sigma, window=window)
    value, gradient = value_and_grad(images, scores, sigma=sigma, window=window)
    assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-5 * np.abs(slope).max() + 1e-7)


@pytest.mark.parametrize("sigma", [4.0, None])
def test_window_of_the_whole_image_is_exact(sigma):
    images, scores = random_inputs((2, 9, 12, 3))
    exact, exact_slope = value_and_grad(images, scores, sigma=sigma)
    for window in (11, 12, 1000):
        value, gradient = value_and_grad(images, scores, sigma=sigma, window=window)
        assert float(value) == pytest.approx(float(exact), rel=1e-6)
        assert_close(gradient, exact_slope, 1e-6)


@pytest.mark.parametrize("sigma", [1.0, 5.0])
def test_window_error_bound(sigma):
    images, scores = random_inputs((1, 30, 30, 2))
    loss = jax.jit(feature_similarity_loss, static_argnames=("sigma", "window"))
    # A black left half and a white right half with opposite scores: every pair across
    # repels, the largest error possible.
    split_images = np.zeros_like(images)
    split_images[:, :, 15:] = 1.0
    split_scores = np.zeros_like(scores)
    split_scores[:, :, :15, 0] = split_scores[:, :, 15:, 1] = 1.0
    for x, y in ((images, scores), (split_images, split_scores)):
        exact = loss(jnp.asarray(x), jnp.asarray(y), sigma=sigma)
        pixels = y.reshape(-1, 2)
        largest = 0.5 * ((pixels[:, None] - pixels[None]) ** 2).sum(-1).max()
        for reach, stated in ((1, 1.0), (3, 0.006), (4, 0.0002)):
            window = math.ceil(reach * sigma)
            t = sum(
                2 * math.exp(-(u**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
                for u in range(window + 1, 200)
            )
            dropped = 1 - (1 - t) ** 2
            assert dropped <= stated
            error = abs(
                float(loss(jnp.asarray(x), jnp.asarray(y), sigma=sigma, window=window) - exact)
            )
            assert error <= dropped * largest + 1e-6
            if reach == 1:
                assert error > 1e-3  # the window does drop something


EDGE_CASES = {
    "one pixel": (np.full((1, 1, 1, 3), 0.5), np.ones((1, 1, 1, 2))),
    "flat image": (np.full((2, 5, 6, 3), 0.5), np.random.default_rng(0).random((2, 5, 6, 3))),
    "equal scores": (np.random.default_rng(0).random((2, 5, 6, 3)), np.full((2, 5, 6, 3), 0.25)),
    "zero scores": (np.random.default_rng(0).random((2, 5, 6, 3)), np.zeros((2, 5, 6, 3))),
    "flat image, equal scores": (np.zeros((1, 4, 4, 3)), np.ones((1, 4, 4, 2))),
    "black and white": (
        np.indices((5, 6)).sum(0)[None, :, :, None] % 2 * np.ones(3),
        np.random.default_rng(1).random((1, 5, 6, 2)),
    ),
    "colours out of range": (
        np.random.default_rng(2).normal(0, 100, (1, 5, 6, 3)),
        np.random.default_rng(3).random((1, 5, 6, 2)),
    ),
}


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases_are_right_and_finite(name):
    images, scores = (array.astype(np.float32) for array in EDGE_CASES[name])
    expected, slope = oracle.feature_similarity(images, scores)
    value, gradient = value_and_grad(images, scores)
    assert np.isfinite(gradient).all()
    assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("logit", [80.0, -80.0, 0.0])
def test_gradient_to_logits_is_finite_in_edge_cases(logit):
    @jax.jit
    @jax.value_and_grad
    def loss_and_slope(logits, images, labels):
        return feature_similarity_loss(images, similarity_scores(logits, labels))

    images = jnp.asarray(random_inputs((2, 5, 6, 3))[0])
    flat = np.full((2, 5, 6, 3), logit, np.float32)
    spike = flat.copy()
    spike[:, 2, 2] = -logit
    for labels in (np.eye(3, dtype=np.float32)[:2], np.zeros((2, 3), np.float32)):
        for logits in (flat, spike):
            loss, slope = loss_and_slope(jnp.asarray(logits), images, jnp.asarray(labels))
            assert np.isfinite(float(loss))
            assert np.isfinite(slope).all()


def test_bfloat16_accumulates_in_float32():
    images, scores = (jnp.asarray(array, jnp.bfloat16) for array in random_inputs((2, 20, 30, 4)))
    expected, slope = oracle.feature_similarity(
        images.astype(jnp.float32), scores.astype(jnp.float32)
    )
    value, gradient = value_and_grad(images, scores)
    assert value.dtype == jnp.float32
    assert gradient.dtype == jnp.bfloat16
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(
        gradient.astype(jnp.float32), slope, 2**-8
    )  # half a unit in the last place of bfloat16


def test_float64_is_float64_throughout():
    images, scores = (array.astype(np.float64) for array in random_inputs((1, 9, 12, 3)))
    expected, slope = oracle.feature_similarity(images, scores)
    with jax.enable_x64(True):
        value, gradient = value_and_grad(jnp.asarray(images), jnp.asarray(scores))
        assert value.dtype == gradient.dtype == jnp.float64
        assert float(value) == pytest.approx(expected, rel=1e-12)
        assert_close(gradient, slope, 1e-12)


def test_images_receive_no_gradient():
    images, scores = random_inputs((1, 5, 6, 2))
    assert not np.any(
        jax.grad(lambda x: feature_similarity_loss(x, jnp.asarray(scores)))(jnp.asarray(images))
    )


def test_forward_and_second_derivatives_are_those_of_the_quadratic_form():
    images, scores = random_inputs((1, 6, 7, 2))
    images, scores = jnp.asarray(images), jnp.asarray(scores)
    direction = np.random.default_rng(1).normal(size=scores.shape).astype(np.float32)

    @jax.jit
    def loss(y):
        return feature_similarity_loss(images, y, sigma=2.0)

    slope_at = oracle.feature_similarity(images, scores, sigma=2.0)[1]
    assert float(jax.jvp(loss, (scores,), (direction,))[1]) == pytest.approx(
        np.sum(slope_at * direction), rel=1e-5
    )
    # The gradient is linear in the scores: the second derivative in a direction is the
    # gradient at the direction.
    second = oracle.feature_similarity(images, direction, sigma=2.0)[1]
    assert_close(jax.jvp(jax.grad(loss), (scores,), (direction,))[1], second)
    assert_close(jax.grad(lambda y: jnp.vdot(jax.grad(loss)(y), direction))(scores), second)


def test_vmap():
    images, scores = random_inputs((6, 5, 7, 2))
    images, scores = images.reshape(3, 2, 5, 7, 3), scores.reshape(3, 2, 5, 7, 2)
    values, gradients = jax.vmap(value_and_grad)(images, scores)
    for i in range(3):
        expected, slope = oracle.feature_similarity(images[i], scores[i])
        assert float(values[i]) == pytest.approx(expected, rel=1e-5)
        assert_close(gradients[i], slope)


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda value: hasattr(value, "eqns") or hasattr(value, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)  # of a closed jaxpr
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def traced(shape, **options):
    images, scores = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((*shape[:3], 3), shape))
    return list(
        equations(
            jax.make_jaxpr(lambda x, y: value_and_grad(x, y, **options))(images, scores).jaxpr
        )
    )


def largest(found, names=None):
    return max(
        var.aval.size
        for equation in found
        if not names or equation.primitive.name in names
        for var in equation.outvars
    )


def test_memory_and_operations():
    b, h, w, k = 2, 56, 56, 21
    found = traced((b, h, w, k))
    assert (
        b * h * w * k < largest(found) <= b * module.TILE_PIXELS * h * w
    )  # a tile's weights: neither [n, n] nor [i, j, k]
    names = {equation.primitive.name for equation in found}
    assert not names & {"sqrt", "rsqrt", "tanh", "log", "logistic", "log1p"}
    assert (
        largest(found, {"exp"}) <= module.TILE_PIXELS * h
    )  # of two columns, and of a tile's rows and the pixels near them; of no pair
    assert (
        sum(equation.primitive.name == "scan" for equation in found) == 1
    )  # value and gradient share one pass


def test_window_is_linear_in_pixels():
    window = 5
    for side in (64, 128, 256):
        rows = module.TILE_PIXELS // side
        assert largest(traced((1, side, side, 2), window=window)) <= max(
            module.TILE_PIXELS * (rows + 2 * window) * side, 3 * side**2
        )


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_value_and_gradient(self):
        images, scores = random_inputs((2, 6, 9, 4))
        expected, slope = oracle.feature_similarity(images, scores)
        loss_and_slope = jax.value_and_grad(lambda y, x: feature_similarity_loss(x, y))
        value, gradient = self.variant(loss_and_slope)(jnp.asarray(scores), jnp.asarray(images))
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert_close(gradient, slope)
