import pathlib

import chex
import contrast_oracle as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from loss_oracles import assert_close

from hfpl_jax.losses import class_prototypes, pixel_classes, prototype_scores
from hfpl_jax.resize import resize_bilinear

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
SHAPES = [(1, 1, 1, 2), (2, 1, 6, 4), (3, 7, 4, 6), (2, 9, 13, 21)]
"""The last number is that of the classes and the background."""


def random_batch(shape, channels=5, seed=0):
    """Features, corrected maps and labels; in one image the first class is flat."""
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.normal(0.3, 1, (*shape[:3], channels)), 0).astype(np.float32)
    corrected = rng.uniform(-0.1, 1, shape).astype(np.float32)
    corrected[0, :, :, 1] = 0.25
    labels = (rng.random((shape[0], shape[3] - 1)) < 0.5).astype(np.float32)
    return features, corrected, labels


@pytest.mark.parametrize("shape", SHAPES)
def test_oracle(shape):
    features, corrected, labels = random_batch(shape)
    scores = jax.jit(prototype_scores)(corrected)
    np.testing.assert_allclose(scores, oracle.scores(corrected), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scores[0, :, :, 1], -1.0)
    scores = np.asarray(scores)
    expected = oracle.classes(scores, labels)
    np.testing.assert_array_equal(jax.jit(pixel_classes)(scores, labels), expected)
    found = jax.jit(class_prototypes)(features, scores)
    assert_close(found, oracle.prototypes(features, scores))
    top = np.random.default_rng(1).integers(0, features[..., 0].size, (shape[3], 2), np.int32)
    found = jax.jit(class_prototypes)(features, scores, top)
    assert_close(found, oracle.prototypes(features, scores, top), 1e-4)


@pytest.mark.parametrize("case", ["0", "1"])
def test_without_ties_the_published_pixels_are_found(case):
    """Of the background and of the class that scores nowhere, any pixels will do."""
    with np.load(GOLDENS / "ppc_contrast.npz") as golden:
        for view in (1, 2):
            features, corrected = (
                resize_bilinear(
                    np.moveaxis(golden[f"{case}_{name}{view}"], 1, -1).astype(np.float32),
                    (16, 16),
                    align_corners=True,
                )
                for name in ("f_proj", "cam_rv")
            )
            found = class_prototypes(features, prototype_scores(corrected))
            expected = golden[f"{case}_prototypes{view}"]
            same = np.abs(found - expected).max(axis=1) < 1e-5
            assert np.flatnonzero(~same).tolist() == [0, 7]


def test_the_first_of_equal_scores_wins_and_absent_classes_lose():
    scores = np.array([[[[0.2, 0.2, 0.7, 0.7], [0.2, 0.9, 0.1, 0.3], [0.2, -1, -1, -1]]]] * 2)
    labels = np.array([[1, 1, 1], [0, 0, 0]])
    found = pixel_classes(scores.astype(np.float32), labels)
    np.testing.assert_array_equal(found, [[[2, 1, 0]], [[0, 0, 0]]])
    found = pixel_classes(scores[:1].astype(np.float32), np.array([[0, 1, 1]], bool))
    np.testing.assert_array_equal(found, [[[2, 3, 0]]])


def test_all_pixels_share_the_places_of_the_background():
    """So its prototype is their mean, in whatever order the images come."""
    features, corrected, _ = random_batch((3, 5, 6, 4))
    scores = np.asarray(prototype_scores(corrected))
    mean = features.reshape(-1, 5).mean(0)
    found = class_prototypes(features, scores)
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), rtol=1e-5)
    turned = class_prototypes(features[::-1], scores[::-1])
    np.testing.assert_allclose(turned, found, rtol=1e-5, atol=1e-6)


def test_prototypes_are_of_the_batch_and_not_of_an_image():
    """The three largest scores of two images of 25 pixels are all in the second."""
    rng = np.random.default_rng(0)
    features = rng.random((2, 5, 5, 4)).astype(np.float32)
    scores = np.zeros((2, 5, 5, 2), np.float32)
    scores[0, 0, :3, 1], scores[1, 2, :3, 1] = 0.5, [0.6, 0.8, 0.9]
    direction = [0.6, 0.8, 0.9] @ features[1, 2, :3]
    found = class_prototypes(features, scores)[1]
    np.testing.assert_allclose(found, direction / np.linalg.norm(direction), rtol=1e-5)


def test_a_class_without_any_score_points_where_the_features_do():
    """Its scores are -1 everywhere, and their sum is negative too."""
    features = np.random.default_rng(0).random((2, 4, 4, 3)).astype(np.float32)
    scores = prototype_scores(np.zeros((2, 4, 4, 2), np.float32))
    mean = features.reshape(-1, 3).mean(0)
    found = class_prototypes(features, scores)
    np.testing.assert_allclose(found, [mean / np.linalg.norm(mean)] * 2, rtol=1e-5)


def test_scores_that_add_up_to_nothing_are_no_division_by_zero():
    scores = np.zeros((1, 4, 4, 1), np.float32)
    scores[0, 0, 0], scores[0, 0, 1:], scores[0, 1:] = 0.5, -0.5, -1.0
    features = np.eye(16, 3, dtype=np.float32).reshape(1, 4, 4, 3)
    top = np.array([[0, 1]])
    found = class_prototypes(features, scores, top)
    np.testing.assert_allclose(found, [[0.5**0.5, -(0.5**0.5), 0.0]], rtol=1e-6)


def test_nothing_has_a_gradient():
    features, corrected, _ = random_batch((2, 4, 5, 3))

    def total(features, corrected):
        return jnp.sum(class_prototypes(features, prototype_scores(corrected)))

    for slope in jax.grad(total, argnums=(0, 1))(features, corrected):
        np.testing.assert_array_equal(slope, 0.0)


def test_prototypes_of_features_that_point_nowhere_are_nothing():
    scores = prototype_scores(np.zeros((1, 1, 4, 3), np.float32))
    nothing = np.zeros((1, 1, 4, 2), np.float32)
    np.testing.assert_array_equal(class_prototypes(nothing, scores), 0.0)


def test_bfloat16_is_computed_in_float32():
    features, corrected, labels = random_batch((2, 9, 7, 5))
    features, corrected = (jnp.asarray(array, jnp.bfloat16) for array in (features, corrected))
    rounded = [np.asarray(array, np.float32) for array in (features, corrected)]
    scores = prototype_scores(corrected)
    found = class_prototypes(features, scores)
    assert scores.dtype == found.dtype == jnp.float32
    np.testing.assert_allclose(scores, oracle.scores(rounded[1]), rtol=1e-5, atol=1e-6)
    assert_close(found, oracle.prototypes(rounded[0], np.asarray(scores)))
    expected = oracle.classes(np.asarray(scores), labels)
    np.testing.assert_array_equal(pixel_classes(scores, labels), expected)


def test_labels_of_another_batch_are_refused():
    features, corrected, labels = random_batch((2, 4, 5, 3))
    with pytest.raises(TypeCheckError, match="labels"):
        pixel_classes(corrected, labels[:1])
    with pytest.raises(TypeCheckError, match="scores"):
        class_prototypes(features, corrected[:, 1:])


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_prototypes_of_corrected_maps(self):
        features, corrected, _ = random_batch((2, 6, 5, 4))
        found = self.variant(lambda g, v: class_prototypes(g, prototype_scores(v)))(
            jnp.asarray(features), jnp.asarray(corrected)
        )
        assert_close(found, oracle.prototypes(features, oracle.scores(corrected)))
