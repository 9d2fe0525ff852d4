import functools

import chex
import contrast_oracle as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jaxtyping import TypeCheckError
from loss_oracles import assert_close

from hfpl_jax.losses import draw_half, intra_view_contrast, prototype_contrast

SHAPES = [(1, 1, 1, 2), (1, 1, 2, 1), (3, 7, 4, 6), (2, 9, 13, 21), (2, 5, 5, 81)]
"""The last number is that of the classes and the background."""

across = jax.jit(jax.value_and_grad(prototype_contrast))
within = jax.jit(jax.value_and_grad(intra_view_contrast))


def random_batch(shape, channels=8, seed=0):
    """Features, prototypes, classes, of which the first are common, and what is
    drawn.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 2, (*shape[:3], channels)).astype(np.float32)
    prototypes = rng.normal(0, 1, (shape[3], channels))
    prototypes = (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).astype(np.float32)
    classes = np.minimum(rng.geometric(0.3, shape[:3]) - 1, shape[3] - 1).astype(np.int32)
    drawn = np.asarray(draw_half(jax.random.key(seed), classes))
    return features, prototypes, classes, drawn


@pytest.mark.parametrize("shape", SHAPES)
def test_oracle(shape):
    inputs = random_batch(shape)
    for ours, theirs, given in (
        (across, oracle.contrast, inputs[:3]),
        (within, oracle.intra_view, inputs),
    ):
        expected, expected_slope = theirs(*given)
        value, slope = ours(*given)
        assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert_close(slope, expected_slope, 3e-5)


def test_temperature():
    inputs = random_batch((2, 1, 6, 7))
    for ours, theirs, given in (
        (prototype_contrast, oracle.contrast, inputs[:3]),
        (intra_view_contrast, oracle.intra_view, inputs),
    ):
        expected, expected_slope = theirs(*given, temperature=0.7)
        value, slope = jax.jit(jax.value_and_grad(functools.partial(ours, temperature=0.7)))(*given)
        assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert_close(slope, expected_slope, 3e-5)


def test_prototypes_get_no_gradient():
    inputs = random_batch((2, 4, 5, 6))
    for loss, given in ((prototype_contrast, inputs[:3]), (intra_view_contrast, inputs)):
        slope = jax.jit(jax.grad(loss, argnums=1))(*given)
        np.testing.assert_array_equal(slope, 0.0)


def test_half_of_every_class_is_drawn():
    """Of `count` pixels of class 3 half, rounded down; of all others too."""
    draw = jax.jit(draw_half)
    for count in range(8):
        classes = np.zeros((2, 3, 4), np.int32)
        classes.ravel()[np.random.default_rng(count).permutation(24)[:count]] = 3
        drawn = np.asarray(draw(jax.random.key(count), classes))
        assert drawn[classes == 3].sum() == count // 2
        assert drawn[classes == 0].sum() == (24 - count) // 2


def test_every_pixel_is_drawn_as_often():
    """Of five, two: each pixel in two of five draws, each pair in one of ten."""
    classes = jnp.asarray([[[0, 7, 7, 0, 7, 0, 7, 7]]])
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = np.asarray(jax.vmap(lambda key: draw_half(key, classes))(keys))[:, 0, 0]
    pairs = drawn[:, [1, 2, 4, 6, 7]] @ 2 ** np.arange(5)
    _, counts = np.unique(pairs, return_counts=True)
    assert len(counts) == 10
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_the_hard_half_and_the_classes_at_ranks_four_to_thirteen():
    """Of ten pixels of one class, at rising similarity, those at places 1 to 5; none is
    drawn. Each is held against the ten that follow its three most similar of 21.
    """
    angles = np.linspace(1.4, 0.1, 10)
    features = np.zeros((1, 2, 5, 22), np.float32)
    features[0].reshape(10, 22)[:, 0] = np.cos(angles)
    features[0].reshape(10, 22)[:, 21] = np.sin(angles)
    prototypes = np.zeros((21, 22), np.float32)
    prototypes[:, 0] = 1.0 - np.arange(21) / 100  # class 0 resembles most, 20 least
    nothing = np.zeros((1, 2, 5), bool)
    value = intra_view_contrast(
        features, prototypes, np.zeros((1, 2, 5), np.int32), nothing, temperature=1.0
    )
    hard = np.cos(angles)[1:6]
    own, others = hard, hard[:, None] * prototypes[3:13, 0]
    errors = np.log(np.exp(own) + np.exp(others).sum(1)) - own
    assert float(value) == pytest.approx(errors.sum() / 10, rel=1e-5)


def test_a_class_of_one_pixel_counts_and_adds_nothing():
    features, prototypes, classes, _ = random_batch((1, 3, 4, 5))
    classes[:] = 1
    drawn = np.asarray(draw_half(jax.random.key(0), classes))
    classes[0, 0, 0] = 2
    drawn = drawn & (classes == 1)
    drawn[0, 0, 0] = False
    value, slope = within(features, prototypes, classes, drawn)
    others = oracle.intra_view(
        features.reshape(1, 1, 12, -1)[:, :, 1:],
        prototypes,
        classes.reshape(1, 1, 12)[:, :, 1:],
        drawn.reshape(1, 1, 12)[:, :, 1:],
    )[0]
    assert float(value) == pytest.approx(others / 2, rel=1e-5)
    np.testing.assert_array_equal(slope[0, 0, 0], 0.0)


def test_up_to_three_classes_hold_nothing_against_a_pixel_of_their_view():
    value, slope = within(*random_batch((2, 4, 5, 3)))
    assert float(value) == 0.0
    np.testing.assert_array_equal(slope, 0.0)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 4, 5)])
@pytest.mark.parametrize("fill", [0.0, 1.0, 1e-20, 1e15])
@pytest.mark.parametrize("prototype", [0.0, 0.5])
def test_pixels_all_alike_and_without_length(size, fill, prototype):
    """Only the background: log m in one case, and finite gradients in all."""
    features = np.full((*size, 4), fill, np.float32)
    prototypes = np.full((6, 4), prototype, np.float32)
    classes = np.zeros(size, np.int32)
    drawn = draw_half(jax.random.key(0), classes)
    value, slope = across(features, prototypes, classes)
    assert float(value) == pytest.approx(np.log(6), rel=1e-5)
    assert np.isfinite(slope).all()
    value, slope = within(features, prototypes, classes, drawn)
    expected = np.log(1 + 3) if classes.size > 1 else 0.0  # ranks 4 to 6, and its own
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(slope).all()


def test_bfloat16_is_computed_in_float32():
    features, *given = random_batch((2, 6, 7, 9))
    features = jnp.asarray(features, jnp.bfloat16)
    rounded = np.asarray(features, np.float32)
    for ours, theirs, rest in (
        (across, oracle.contrast, given[:2]),
        (within, oracle.intra_view, given),
    ):
        value, slope = ours(features, *rest)
        expected, expected_slope = theirs(rounded, *rest)
        assert (value.dtype, slope.dtype) == (jnp.float32, jnp.bfloat16)
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert_close(slope.astype(jnp.float32), expected_slope, 2**-7)


def test_float64_is_float64_throughout():
    features, prototypes, *given = random_batch((2, 6, 7, 9))
    with jax.enable_x64(True):
        both = [jnp.asarray(array, jnp.float64) for array in (features, prototypes)]
        for ours, theirs, rest in (
            (prototype_contrast, oracle.contrast, given[:1]),
            (intra_view_contrast, oracle.intra_view, given),
        ):
            value, slope = jax.value_and_grad(ours)(*both, *rest)
            expected, expected_slope = theirs(features, prototypes, *rest)
            assert float(value) == pytest.approx(expected, rel=1e-12)
            assert_close(slope, expected_slope, 1e-12)


def test_pixels_of_another_size_are_refused():
    features, prototypes, classes, drawn = random_batch((2, 4, 5, 6))
    with pytest.raises(TypeCheckError, match="classes"):
        prototype_contrast(features, prototypes, classes[:, 1:])
    with pytest.raises(TypeCheckError, match="drawn"):
        intra_view_contrast(features, prototypes, classes, drawn[:1])
    with pytest.raises(TypeCheckError, match="prototypes"):
        prototype_contrast(features, prototypes[:, 1:], classes)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_value_and_gradient(self):
        inputs = random_batch((2, 6, 9, 15))
        for ours, theirs, given in (
            (prototype_contrast, oracle.contrast, inputs[:3]),
            (intra_view_contrast, oracle.intra_view, inputs),
        ):
            value, slope = self.variant(jax.value_and_grad(ours))(*map(jnp.asarray, given))
            expected, expected_slope = theirs(*given)
            assert float(value) == pytest.approx(expected, rel=1e-5)
            assert_close(slope, expected_slope)
