import numpy as np
import pytest

from hfpl_jax.masks import label_map
from hfpl_jax.refine.background import background_score, threshold_background


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


@pytest.mark.parametrize("threshold", [0.0, 0.17, 1.0])
def test_the_strongest_beside_a_threshold_is_its_label(threshold):
    cams = np.random.default_rng(0).random((40, 50, 3), np.float32)
    cams[:5] = -1.0
    scores = threshold_background(cams, threshold)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(
        scores.argmax(axis=-1), label_map(cams, np.arange(3), threshold=threshold)
    )


@pytest.mark.parametrize(
    "cams", [np.full((3, 4, 2), -1.0, np.float32), np.zeros((3, 4, 0), np.float32)]
)
def test_without_evidence_all_is_background(cams):
    scores = background_score(cams, 6)
    assert (scores[..., 0] == 1.0).all()
    assert not scores[..., 1:].any()
