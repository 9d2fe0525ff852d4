import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from hfpl_jax.models import pixel_correlation as module
from hfpl_jax.models.pixel_correlation import correlation_scores, pixel_correlation


def scores_of(logits):
    """By the formula, pixels in a row, float64."""
    peak = logits.max(0)
    p = np.where(peak > 0, np.maximum(logits - 1e-5, 0) / (peak + 1e-5), 0)
    best = p.max(1, keepdims=True)
    return np.concatenate([1 - best, np.where(p < best, 0, p)], 1)


def oracle(logits, features):
    """One image [h, w, k], with the whole affinity matrix, as the published program
    computes it.
    """
    h, w, c = logits.shape
    f = features.reshape(h * w, -1)
    f = f / (np.linalg.norm(f, axis=1, keepdims=True) + 1e-5)
    affinity = np.maximum(f @ f.T, 0)
    affinity = affinity / (affinity.sum(0, keepdims=True) + 1e-5)
    return (scores_of(logits.reshape(h * w, c)).T @ affinity).T.reshape(h, w, c + 1)


def random_case(b=2, h=5, w=6, c=3, k=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(b, h, w, c)), rng.normal(size=(b, h, w, k))


def single(*arrays):
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


class PixelCorrelationTest(chex.TestCase, parameterized.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_equals_the_dense_float64_oracle(self):
        logits, features = random_case()
        logits[0, :, :, 1] = -3.0  # a class that is nowhere positive
        corrected = self.variant(lambda *case: pixel_correlation(*case))(*single(logits, features))
        assert corrected.dtype == jnp.float32
        for index in range(2):
            np.testing.assert_allclose(
                corrected[index], oracle(logits[index], features[index]), rtol=1e-4, atol=1e-5
            )

    @chex.variants(with_jit=True, without_jit=True)
    def test_padding_takes_no_part(self):
        logits, features = random_case(h=7, w=8)
        logits[:, 4:], logits[:, :, 5:] = 50.0, 60.0
        valid = np.zeros((2, 7, 8), bool)
        valid[:, :4, :5] = True
        corrected = self.variant(lambda *case: pixel_correlation(*case))(
            *single(logits, features), jnp.asarray(valid)
        )
        for index in range(2):
            alone = oracle(logits[index, :4, :5], features[index, :4, :5])
            np.testing.assert_allclose(corrected[index, :4, :5], alone, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(corrected)[~valid], 0.0)


@pytest.mark.parametrize("tile", [1, 7, 29])
def test_tiles_do_not_show(monkeypatch, tile):
    logits, features = random_case(b=1)
    monkeypatch.setattr(module, "TILE_PIXELS", tile)
    np.testing.assert_allclose(
        pixel_correlation(*single(logits, features))[0],
        oracle(logits[0], features[0]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_no_array_is_quadratic_in_the_pixels_forward_or_backward(monkeypatch):
    monkeypatch.setattr(module, "TILE_PIXELS", 10)
    logits, features = single(*random_case(b=1, h=20, w=20, k=5))
    program = jax.make_jaxpr(
        jax.value_and_grad(lambda features: jnp.sum(pixel_correlation(logits, features) ** 2))
    )(features)

    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (variable.aval.size for variable in equation.outvars)
            for inner in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
            ):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from sizes(inner)

    assert max(sizes(program.jaxpr)) == 10 * 400  # one tile's affinities; all would be 400 * 400


def test_gradient_is_that_of_the_dense_form_and_does_not_reach_the_logits():
    logits, features = random_case(b=1)
    target = np.random.default_rng(1).normal(size=(1, 5, 6, 4))
    y = jnp.asarray(scores_of(logits[0].reshape(30, 3)), jnp.float32)

    def dense(features):
        f = features.reshape(30, -1)
        f = f / (jnp.linalg.norm(f, axis=1, keepdims=True) + 1e-5)
        affinity = jax.nn.relu(f @ f.T)
        return jnp.sum(target.reshape(30, 4) * ((affinity / (affinity.sum(0) + 1e-5)).T @ y))

    def tiled(logits, features):
        return jnp.sum(target * pixel_correlation(logits, features))

    to_logits, to_features = jax.jit(jax.grad(tiled, argnums=(0, 1)))(*single(logits, features))
    expected = jax.jit(jax.grad(dense))(single(features)[0])
    assert float(jnp.abs(expected).max()) > 0.01
    np.testing.assert_allclose(to_features, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(to_logits, 0.0)


def test_edges_are_finite():
    logits, features = random_case(b=1, h=1, w=3)
    for case in (
        (logits, 0 * features),
        (-np.abs(logits), features),
        (0 * logits, 1e10 * features),
        (0 * logits - 1e-5, features),
    ):
        value, gradient = jax.value_and_grad(lambda f, s: jnp.sum(pixel_correlation(s, f)))(
            *single(case[1], case[0])
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    nothing = pixel_correlation(*single(logits, features), jnp.zeros((1, 1, 3), bool))
    np.testing.assert_array_equal(nothing, 0.0)


def test_the_background_is_certain_where_no_class_is_positive_anywhere():
    scores = correlation_scores(jnp.full((1, 2, 2, 3), -1.0))
    np.testing.assert_array_equal(scores[..., 0], 1.0)
    np.testing.assert_array_equal(scores[..., 1:], 0.0)


def test_classes_with_their_peak_at_one_pixel_both_stay():
    logits = jnp.zeros((1, 2, 2, 3)).at[0, 1, 1].set(jnp.array([790.41156, 1680.3622, 914.05743]))
    np.testing.assert_allclose(
        jax.jit(correlation_scores)(logits)[0, 1, 1], [0, 1, 1, 1], atol=1e-6
    )


@pytest.mark.parametrize("peaks", [(10.0, 20 / 3), (20.0, 4.0), (12.0, 11.5)])
def test_of_classes_with_their_peak_at_one_pixel_the_higher_stays_whatever_the_rounding(peaks):
    """Both p are 1 to five digits, and those of the first pair differ by 1e-6."""
    for noise in np.linspace(-1e-6, 1e-6, 21):
        logits = (
            jnp.zeros((1, 2, 2, 2)).at[0, 1, 1].set(jnp.array([peaks[0], peaks[1] * (1 + noise)]))
        )
        np.testing.assert_allclose(
            jax.jit(correlation_scores)(logits)[0, 1, 1], [0, 1, 0], atol=1e-4
        )


def test_maps_of_different_sizes_are_refused():
    with pytest.raises(Exception, match="features"):
        pixel_correlation(jnp.zeros((1, 4, 4, 2)), jnp.zeros((1, 5, 4, 3)))
