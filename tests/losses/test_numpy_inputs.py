"""The losses take what a notebook holds: NumPy arrays of either precision, labels of
any kind.
"""

import warnings

import jax
import numpy as np
import pytest

from hfpl_jax.losses import (
    expected_importance_sampling_loss,
    feature_similarity_loss,
    gap_loss,
    importance_sampling_loss,
    sample_pixels,
    sampled_loss,
    similarity_scores,
)

LOGITS = np.random.default_rng(0).normal(0, 2, (2, 4, 5, 3))
LABELS = np.array([[1, 0, 1], [0, 0, 1]])


def all_losses(logits, labels):
    key = jax.random.key(0)
    images = np.random.default_rng(1).random((2, 4, 5, 3)).astype(logits.dtype)
    return np.array(
        [
            gap_loss(logits, labels),
            importance_sampling_loss(key, logits, labels),
            sampled_loss(logits, labels, np.asarray(sample_pixels(key, logits, num_samples=2))),
            expected_importance_sampling_loss(logits, labels),
            feature_similarity_loss(images, np.asarray(similarity_scores(logits, labels))),
            feature_similarity_loss(images, logits),
        ]
    )


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("label_type", [bool, np.int64, np.uint8, np.float64])
def test_any_precision_and_label_type(precision, label_type):
    expected = all_losses(
        jax.numpy.asarray(LOGITS, np.float32), jax.numpy.asarray(LABELS, np.float32)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = all_losses(LOGITS.astype(precision), LABELS.astype(label_type))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
