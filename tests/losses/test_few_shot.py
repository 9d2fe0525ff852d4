"""Prototypes of few examples; their values against the published program's are in
experiments/parity.
"""

import numpy as np
import pytest

from hfpl_jax.losses.few_shot import mean_prototypes, prototype_logits, prototype_loss


def test_a_prototype_is_the_mean_of_its_examples_and_without_any_zeros():
    features = np.array([[1.0, 0.0], [4.0, 8.0], [3.0, 2.0]], np.float32)
    found = mean_prototypes(features, np.array([2, 0, 2]), 3)
    np.testing.assert_allclose(found, [[4.0, 8.0], [0.0, 0.0], [2.0, 1.0]])


def test_logits_are_squared_distances_and_the_loss_is_their_cross_entropy():
    queries = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    logits = prototype_logits(
        queries, np.array([[0.0, 0.0], [3.0, 0.0]], np.float32), temperature=4
    )
    np.testing.assert_allclose(logits, [[0.0, -9 / 4], [-25 / 4, -16 / 4]])
    expected = np.mean([np.log(1 + np.exp(-9 / 4)), np.log(1 + np.exp(-9 / 4))])
    assert float(prototype_loss(logits, np.array([0, 1]))) == pytest.approx(expected, rel=1e-6)
