import chex
import jax
import jax.numpy as jnp
import loss_oracles as oracle
import numpy as np
import pytest
from loss_oracles import assert_close

from hfpl_jax.losses import (
    attention,
    explored_cam,
    general_specific_loss,
    image_specific_cam,
    presence,
    seed_prototypes,
)


def arrays(shape=(2, 4, 3), classes=3, seed=0):
    """Logits, hierarchical features, features to compare, labels and validity; one class
    is in no image, and a corner is padding.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.5, 2.0, (*shape, classes)).astype(np.float32)
    features = rng.normal(0.1, 1.0, (*shape, 5)).astype(np.float32)
    compared = rng.normal(0.1, 1.0, (*shape, 6)).astype(np.float32)
    labels = np.ones((shape[0], classes), np.float32)
    labels[:, -1] = 0.0
    valid = np.ones(shape, bool)
    valid[:, -1, -1:] = False
    return logits, features, compared, labels, valid


def consistency(logits, features, compared, labels, valid):
    present = presence(labels, valid)
    scores = attention(logits) * present
    return general_specific_loss(scores, explored_cam(compared, scores, features, present))


def oracle_of(logits, features, compared, labels, valid, seeds=None):
    """Value, with the seeds of these logits where none are given; and these seeds."""
    there = np.concatenate([np.ones((len(labels), 1)), labels], axis=-1)
    present = valid[..., None] * there[:, None, None]
    scores = oracle.attention(logits) * present
    if seeds is None:
        seeds = np.eye(there.shape[1])[oracle.structure_seeds(compared, scores)] * present
    maps = oracle.image_specific_cam(features, seeds)
    return oracle.general_specific(scores, maps), seeds


@pytest.mark.parametrize(
    ("shape", "classes"), [((2, 4, 3), 3), ((1, 2, 3), 1), ((1, 3, 5), 6), ((3, 2, 2), 2)]
)
def test_value_and_gradients(shape, classes):
    given = arrays(shape, classes)
    value, slopes = jax.jit(jax.value_and_grad(consistency, argnums=(0, 1, 2)))(*given)
    logits, features, *others = given
    expected, seeds = oracle_of(*given)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    to_logits = oracle.slope_of(lambda x: oracle_of(x, features, *others, seeds)[0], logits)
    to_features = oracle.slope_of(lambda x: oracle_of(logits, x, *others, seeds)[0], features)
    assert_close(slopes[0], to_logits, 1e-4)
    assert_close(slopes[1], to_features, 1e-4)
    assert not np.any(slopes[2])


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_value(self):
        given = [jnp.asarray(each) for each in arrays(seed=2)]
        expected, _ = oracle_of(*(np.asarray(each) for each in given))
        assert float(self.variant(consistency)(*given)) == pytest.approx(expected, rel=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_maps(self):
        _, features, compared, *_ = arrays(seed=3)
        scores = oracle.attention(arrays(seed=3)[0])
        seeds = np.eye(4)[oracle.structure_seeds(compared, scores)]
        found = self.variant(explored_cam)(
            compared, scores.astype(np.float32), features, np.ones(scores.shape, np.float32)
        )
        np.testing.assert_allclose(found, oracle.image_specific_cam(features, seeds), atol=1e-6)


def test_presence():
    """The background, and the labels', outside the padding."""
    valid = np.array([[[True, False]]])
    found = presence(np.array([[0, 1]]), valid)
    np.testing.assert_array_equal(found, [[[[1, 0, 1], [0, 0, 0]]]])
    np.testing.assert_array_equal(presence(np.array([[False, True]]), valid), found)


def test_the_background_knows_the_absent_classes():
    """Of two classes at their peaks in a pixel each nothing is left of it there."""
    logits = np.array([[[[4.0, -1.0], [0.0, 2.0], [1.0, 1.0]]]], np.float32)
    found = attention(logits)[0, 0]
    np.testing.assert_allclose(found, [[0, 1, 0], [0, 0, 1], [0.5, 0.25, 0.5]], atol=1e-5)


def test_a_prototype_is_the_mean_over_all_pixels():
    seeds = np.array([[[[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0]]]], np.float32)
    features = np.array([[[[4.0, 0.0], [1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]]], np.float32)
    np.testing.assert_allclose(seed_prototypes(seeds, features)[0], [[1, 0], [0, 0], [1, 1.5]])


def test_a_prototype_of_no_seed_has_no_map_and_no_gradient():
    features = np.random.default_rng(0).normal(size=(1, 3, 3, 4)).astype(np.float32)
    features[0, 1, 1] = 0.0
    means = np.stack([np.zeros(4, np.float32), features[0, 0, 0]])[None]
    slopes = jax.grad(lambda *each: image_specific_cam(*each).sum(), argnums=(0, 1))(
        jnp.asarray(features), jnp.asarray(means)
    )
    maps = image_specific_cam(features, means)
    assert not np.any(maps[..., 0])
    assert not np.any(maps[0, 1, 1])
    assert not np.any(slopes[1][0, 0])
    assert np.any(slopes[1][0, 1])
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_short_vectors_have_a_direction():
    features = np.full((1, 1, 1, 3), 1e-6, np.float32)
    assert float(image_specific_cam(features, features[:, 0])[0, 0, 0, 0]) == pytest.approx(1.0)


CASES = {
    "no class": lambda given: given[3].fill(0.0),
    "every class": lambda given: given[3].fill(1.0),
    "padding alone": lambda given: given[4].fill(False),
    "logits of 0": lambda given: given[0].fill(0.0),
    "negative logits": lambda given: np.copyto(given[0], -np.abs(given[0])),
    "flat logits": lambda given: given[0].fill(3.0),
    "features of 0": lambda given: given[1].fill(0.0),
    "nothing to compare": lambda given: given[2].fill(0.0),
    "everything 0": lambda given: [each.fill(0) for each in given],
    "huge": lambda given: [np.multiply(each, 1e6, out=each) for each in given[:3]],
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("side", [1, 3])
def test_no_input_has_a_loss_or_a_gradient_that_is_not_finite(side, dtype):
    program = jax.jit(jax.value_and_grad(consistency, argnums=(0, 1, 2)))
    for name, change in CASES.items():
        given = arrays((2, side, side), 2)
        change(given)
        given = [jnp.asarray(each, dtype) for each in given[:3]] + list(given[3:])
        value, slopes = program(*given)
        assert value.dtype == jnp.float32
        assert np.isfinite(value), name
        assert all(np.isfinite(slope).all() for slope in slopes), name
        if name in ("padding alone", "everything 0"):
            assert float(value) == 0.0


def test_a_class_that_wins_a_single_pixel():
    """Its prototype is that pixel's feature."""
    features, compared = np.eye(4, dtype=np.float32)[None, None], np.eye(4, dtype=np.float32)
    scores = np.array([[[[1, 0], [1, 0], [0, 1], [1, 0]]]], np.float32)
    found = explored_cam(compared[None, None], scores, features, np.ones_like(scores))
    np.testing.assert_allclose(found[0, 0, :, 1], [0, 0, 1, 0])
    third = 1 / np.sqrt(3)
    np.testing.assert_allclose(found[0, 0, :, 0], [third, third, 0, third], rtol=1e-6)


def test_float64_is_float64_throughout():
    given = [np.asarray(each, np.float64) for each in arrays()[:3]]
    others = arrays()[3:]
    with jax.enable_x64(True):
        value = consistency(*(jnp.asarray(each) for each in given), *others)
        assert float(value) == pytest.approx(oracle_of(*given, *others)[0], rel=1e-12)
