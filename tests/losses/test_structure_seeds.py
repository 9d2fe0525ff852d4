import importlib

import chex
import jax
import jax.numpy as jnp
import loss_oracles as oracle
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from hfpl_jax.losses import structure_seeds

seeds_module = importlib.import_module("hfpl_jax.losses.structure_seeds")


def features_and_scores(shape, classes, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(0.2, 1.0, (*shape, 6)).astype(np.float32)
    return features, rng.random((*shape, classes)).astype(np.float32) ** 3


def one_hot(classes, count):
    return np.eye(count, dtype=np.float32)[classes]


@pytest.mark.parametrize("rows", [1, 3, 8, 100])
@pytest.mark.parametrize(("shape", "classes"), [((2, 5, 4), 4), ((1, 1, 1), 2), ((3, 1, 7), 3)])
def test_seeds_pair_by_pair(shape, classes, rows, monkeypatch):
    """However many rows of the resemblances a block has, and the last one fewer."""
    pixels = shape[1] * shape[2]
    monkeypatch.setattr(seeds_module, "BLOCK_BYTES", 4 * shape[0] * pixels * rows)
    features, scores = features_and_scores(shape, classes)
    expected = oracle.structure_seeds(features, scores)
    assert pixels == 1 or len(np.unique(expected)) > 1
    # Not jitted as it is: what was traced with other blocks would be found again.
    found = jax.jit(lambda *arrays: structure_seeds(*arrays))(features, scores)
    np.testing.assert_array_equal(found, one_hot(expected, classes))


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_seeds(self):
        features, scores = map(jnp.asarray, features_and_scores((2, 4, 5), 3, seed=1))
        expected = oracle.structure_seeds(features, scores)
        np.testing.assert_array_equal(
            self.variant(structure_seeds)(features, scores), one_hot(expected, 3)
        )


def test_the_background_has_to_be_twice_as_alike():
    """All pixels alike: the overlap of a class is its mean score."""
    features = np.ones((1, 2, 2, 3), np.float32)
    for share, winner in ((0.45, 1), (0.55, 0)):
        scores = np.full((1, 2, 2, 2), 0.25, np.float32)
        scores[..., 0] = share
        scores[..., 1] = 0.25
        assert structure_seeds(features, scores)[0, 0, 0, winner] == 1.0


def test_of_equal_overlaps_the_first_class_wins():
    features, scores = features_and_scores((1, 4, 4), 1)
    twice = np.concatenate([np.zeros_like(scores), scores, scores], axis=-1)
    seeds = structure_seeds(features, twice)
    np.testing.assert_array_equal(seeds[..., 1], 1.0)


def test_pixels_alike_have_one_seed_and_those_opposed_another():
    """Two kinds of pixels, of which one in each scores in its class."""
    features = np.zeros((1, 1, 6, 2), np.float32)
    features[0, 0, :3, 0], features[0, 0, 3:, 0] = [1.0, 5.0, 9.0], [-2.0, -3.0, -4.0]
    scores = np.zeros((1, 1, 6, 3), np.float32)
    scores[0, 0, 2, 1] = scores[0, 0, 3, 2] = 1.0
    seeds = structure_seeds(features, scores)
    np.testing.assert_array_equal(np.argmax(seeds[0, 0], axis=-1), [1, 1, 1, 2, 2, 2])


@pytest.mark.parametrize("features", [0.0, 1.0, -3.0])
@pytest.mark.parametrize("scores", [0.0, 1.0])
@pytest.mark.parametrize("side", [1, 3])
def test_flat_maps_have_a_seed_everywhere(features, scores, side):
    seeds = structure_seeds(
        np.full((2, side, side, 4), features, np.float32),
        np.full((2, side, side, 3), scores, np.float32),
    )
    # Of equal scores the background's overlap is halved; of none it is the first.
    winner = 1 if scores and features else 0
    np.testing.assert_array_equal(np.argmax(seeds, axis=-1), winner)
    np.testing.assert_array_equal(np.sum(seeds, axis=-1), 1.0)


def test_what_is_zero_takes_no_part():
    features, scores = features_and_scores((1, 4, 6), 3)
    features[:, 3:] = scores[:, 3:] = features[:, :, 5:] = scores[:, :, 5:] = 0.0
    padded = structure_seeds(features, scores)
    alone = structure_seeds(features[:, :3, :5], scores[:, :3, :5])
    np.testing.assert_array_equal(padded[:, :3, :5], alone)


def test_bfloat16_is_summed_in_float32():
    features, scores = features_and_scores((1, 8, 8), 4)
    rounded = jnp.asarray(features, jnp.bfloat16)
    expected = oracle.structure_seeds(rounded.astype(jnp.float32), scores)
    found = jax.jit(structure_seeds)(rounded, scores)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, one_hot(expected, 4))


def test_no_gradient():
    features, scores = features_and_scores((1, 3, 3), 3)
    slopes = jax.grad(lambda *arrays: structure_seeds(*arrays)[..., 1].sum(), argnums=(0, 1))(
        jnp.asarray(features), jnp.asarray(scores)
    )
    assert not any(np.any(slope) for slope in slopes)


def arrays_in(jaxpr):
    for equation in jaxpr.eqns:
        yield from (variable.aval for variable in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from arrays_in(inner)


@pytest.mark.parametrize("shape", [(16, 32, 32), (4, 54, 55), (1, 94, 125), (1, 200, 400)])
def test_no_array_of_resemblances_is_above_32_mb(shape):
    """Of a batch of the recipe, of photographs of VOC at twice their size, and more: the
    whole of them would take up to 26 GB, and the original takes 21 times as much.
    """
    features, scores = (jax.ShapeDtypeStruct((*shape, n), jnp.float32) for n in (8, 21))
    largest = max(
        array.size * array.dtype.itemsize
        for array in arrays_in(jax.make_jaxpr(structure_seeds)(features, scores).jaxpr)
    )
    assert 2**24 < largest <= 2**25
    assert largest <= seeds_module.BLOCK_BYTES


@pytest.mark.optimized
def test_the_compiled_program_holds_64_mb_at_most():
    """Of 11,750 pixels, whose resemblances are 552 MB."""
    features, scores = (jax.ShapeDtypeStruct((1, 94, 125, n), jnp.float32) for n in (64, 21))
    compiled = jax.jit(structure_seeds).lower(features, scores).compile()
    taken = compiled.memory_analysis().temp_size_in_bytes
    around = 11_750 * (2 * 64 + 8 * 22) * 4  # features and sums, whatever is done to them
    assert taken <= 64 * 2**20 + around


@pytest.mark.optimized
def test_many_pixels_have_the_seeds_of_the_whole_matrix():
    """4,900 of them, in three blocks."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 6))
    kinds = np.repeat(np.repeat(rng.integers(0, 5, (7, 7)), 10, axis=0), 10, axis=1)
    features = (centres[kinds] + 0.3 * rng.normal(size=(70, 70, 6))).astype(np.float32)[None]
    scores = rng.random((1, 70, 70, 4)).astype(np.float32) ** 8
    for label in (1, 2, 3):
        scores[0, kinds == label, label] += 0.5
    x, s = features.reshape(4900, 6).astype(np.float64), scores.reshape(4900, 4).astype(np.float64)
    unit = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-5)
    resemblance = np.maximum(unit @ unit.T, 0.0)
    inter = resemblance @ s
    overlap = inter / (resemblance.sum(1, keepdims=True) + s.sum(0) - inter) * [0.5, 1, 1, 1]
    found = np.asarray(jax.jit(structure_seeds)(features, scores)).reshape(4900, 4)
    best = np.sort(overlap, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-6
    assert clear.mean() > 0.99
    assert len(np.unique(overlap.argmax(1))) > 2
    np.testing.assert_array_equal(found[clear], one_hot(overlap.argmax(1), 4)[clear])
