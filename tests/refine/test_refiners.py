"""The refiners of the table on one photograph."""

import numpy as np
import pytest

from hfpl_jax.inference.cam_record import decode_maps
from hfpl_jax.refine import REFINERS, CrfSettings, dense_crf
from hfpl_jax.refine.background import background_score, threshold_background
from hfpl_jax.refine.crf import Crf
from hfpl_jax.refine.refiner import Photograph, most_probable
from hfpl_jax.refine.threshold import Threshold
from hfpl_jax.refine.walk import Affinity, RandomWalk, WalkCrf


@pytest.fixture
def photograph():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (9, 11, 3), np.uint8)
    return Photograph(image, rng.random((9, 11, 2), np.float32), np.array([3, 6]), 0.6)


def test_names_and_settings_belong_together():
    for name, refiner in REFINERS.items():
        assert refiner.path == f"refine.{name}"


def test_the_threshold_with_its_band(photograph):
    mask, confidence = Threshold(ignore_band=(0.5, 0.7)).refine(photograph)
    strength = photograph.cams.max(axis=-1)
    expected = np.where(strength > 0.6, np.array([4, 7])[photograph.cams.argmax(axis=-1)], 0)
    expected[(strength > 0.5) & (strength <= 0.7)] = 255
    np.testing.assert_array_equal(mask, expected)
    assert {0, 4, 7, 255} == set(np.unique(mask))
    share = np.where(strength > 0.6, (strength - 0.6) / 0.4, (0.6 - strength) / 0.6)
    np.testing.assert_allclose(confidence, 255 * share, atol=0.51)


def by_crf(photograph, scores, **settings):
    probabilities = scores / scores.sum(axis=-1, keepdims=True)
    return dense_crf(photograph.image, probabilities, settings=CrfSettings(**settings))


def test_the_crf_starts_from_the_threshold(photograph):
    refined = Crf(iterations=2, srgb=30.0).refine(photograph)
    start = threshold_background(photograph.cams, 0.6)
    marginals = by_crf(photograph, start, iterations=2, bilateral_srgb=30.0)
    expected = most_probable(marginals, photograph.classes)
    np.testing.assert_array_equal(refined.mask, expected.mask)
    np.testing.assert_array_equal(refined.confidence, expected.confidence)
    assert (refined.mask != most_probable(start, photograph.classes).mask).any()


def test_what_affinities_are_learnt_from(photograph):
    walk = RandomWalk(crf=WalkCrf(iterations=2), affinity=Affinity(alphas=(1.0, 9.0)))
    refined, learnt = walk.evidence(photograph, learnt=True)
    start = threshold_background(photograph.cams, 0.6)
    expected = most_probable(by_crf(photograph, start, iterations=2), photograph.classes)
    np.testing.assert_array_equal(refined.mask, expected.mask)
    assert learnt.keys() == {"alpha0", "alpha1"}
    for name, alpha in (("alpha0", 1.0), ("alpha1", 9.0)):
        marginals = by_crf(photograph, background_score(photograph.cams, alpha), iterations=2)
        np.testing.assert_allclose(decode_maps(learnt[name], (9, 11, 3)), marginals, atol=0.5 / 254)
    again, nothing = walk.evidence(photograph, learnt=False)
    assert nothing == {}
    np.testing.assert_array_equal(again.mask, refined.mask)


@pytest.mark.parametrize("refiner", [Threshold(), Crf()])
def test_a_photograph_without_classes_is_background(refiner, photograph):
    empty = photograph._replace(cams=photograph.cams[..., :0], classes=photograph.classes[:0])
    mask, confidence = refiner.refine(empty)
    assert mask.shape == (9, 11)
    assert not mask.any()
    assert (confidence == 255).all()
