import numpy as np
import pytest

from hfpl_jax.masks import label_map
from hfpl_jax.refine.background import background_score, raised_background, threshold_background


def test_background_score():
    cams = np.array([[[0.25, 0.5], [0.0, 0.0], [1.0, 0.0], [-1.0, 0.1]]], np.float32)
    for alpha, background in (
        (1, [0.5, 1.0, 0.0, 0.9]),
        (2, [0.25, 1.0, 0.0, 0.81]),
        (24, [2.0**-24, 1.0, 0.0, 0.9**24]),
    ):
        scores = background_score(cams, alpha)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores[0, :, 0], background, rtol=1e-5)
        np.testing.assert_array_equal(scores[..., 1:], np.maximum(cams, 0.0))


@pytest.mark.parametrize(
    ("behind", "threshold"),
    [
        *((threshold_background, threshold) for threshold in (0.0, 0.17, 1.0)),
        *((raised_background, threshold) for threshold in (0.0, 0.02, 0.17, 0.5, 0.99)),
    ],
)
def test_the_strongest_beside_a_threshold_is_its_label(behind, threshold):
    """Of CAMs in the steps of their records, some just at the threshold."""
    cams = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.float32) / 255
    cams[:5], cams[5:7] = -1.0, threshold
    scores = behind(cams, threshold)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(
        scores.argmax(axis=-1), label_map(cams, np.arange(3), threshold=threshold)
    )


def test_a_background_near_0_is_raised():
    cams = np.array([[[-1.0], [0.0], [0.02], [0.04], [0.52], [1.0]]], np.float32)
    scores = raised_background(cams, 0.04)
    np.testing.assert_array_equal(scores[..., 0], np.float32(0.1))
    np.testing.assert_allclose(scores[0, :, 1], [0.0, 0.0, 0.05, 0.1, 0.55, 1.0], rtol=1e-6)
    known = raised_background(cams, 0.0)
    np.testing.assert_allclose(known[0, :, 1], [0.0, 0.0, 0.118, 0.136, 0.568, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(raised_background(cams, 0.1), threshold_background(cams, 0.1))


@pytest.mark.parametrize(
    "cams", [np.full((3, 4, 2), -1.0, np.float32), np.zeros((3, 4, 0), np.float32)]
)
def test_without_evidence_all_is_background(cams):
    scores = background_score(cams, 6)
    assert (scores[..., 0] == 1.0).all()
    assert not scores[..., 1:].any()
