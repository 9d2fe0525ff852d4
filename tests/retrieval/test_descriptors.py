"""PWA's descriptors against its formulas in float64."""

import jax
import numpy as np
import pytest

from hfpl_jax.retrieval.descriptors import (
    channel_sums,
    part_channels,
    part_descriptors,
    proposal_weights,
    unit_length,
)


def described(features, channels):
    """Of [h, w, k] features."""
    parts = []
    for channel in channels:
        proposal = features[..., channel]
        length = np.linalg.norm(proposal)
        weights = np.sqrt(proposal / length) if length else proposal
        parts.append([np.sum(weights * features[..., k]) for k in range(features.shape[-1])])
    parts = np.concatenate(parts)
    return parts / np.linalg.norm(parts)


@pytest.fixture
def features():
    """[3, 5, 4, 6], as behind a ReLU; the second photograph has 3 x 2 positions of them,
    and a channel of it is zero.
    """
    drawn = np.maximum(np.random.default_rng(0).normal(size=(3, 5, 4, 6)), 0.0)
    drawn[1, ..., 2] = 0.0
    valid = np.ones((3, 5, 4), bool)
    valid[1, 3:] = valid[1, :, 2:] = False
    return drawn.astype(np.float32), valid


def test_descriptors_of_padded_photographs(features):
    maps, valid = features
    channels = np.array([1, 2, 5])
    ours = jax.jit(part_descriptors)(maps, channels, valid)
    assert ours.shape == (3, 18)
    for index, corner in enumerate([np.s_[:], np.s_[:3, :2], np.s_[:]]):
        exact = described(maps[index][corner].astype(np.float64), channels)
        np.testing.assert_allclose(ours[index], exact, atol=1e-6)


def test_sums_of_padded_photographs(features):
    maps, valid = features
    exact = [maps[0].sum((0, 1)), maps[1, :3, :2].sum((0, 1)), maps[2].sum((0, 1))]
    np.testing.assert_allclose(channel_sums(maps, valid), exact, rtol=1e-5)


def test_features_of_zeros_stay_zeros():
    zeros = np.zeros((1, 3, 3, 4), np.float32)
    ours = part_descriptors(zeros, np.array([0, 3]), np.ones((1, 3, 3), bool))
    np.testing.assert_array_equal(ours, np.zeros((1, 8)))


def test_weights_of_one_position_are_one():
    maps = np.zeros((1, 2, 2, 1), np.float32)
    maps[0, 1, 0, 0] = 7.0
    np.testing.assert_allclose(proposal_weights(maps)[0, ..., 0], [[0, 0], [1, 0]], rtol=1e-6)


def test_the_channels_that_vary_most_in_ascending_order():
    # Variances: 8, 0, 32, 2, 8.
    sums = np.float32([[0, 5, 9, 1, 3], [4, 5, 1, 3, 7]])
    np.testing.assert_array_equal(part_channels(sums, 2), [0, 2])  # the first of two equal ones
    np.testing.assert_array_equal(part_channels(sums, 3), [0, 2, 4])
    np.testing.assert_array_equal(part_channels(sums, 9), range(5))


def test_rows_of_length_one():
    np.testing.assert_allclose(
        unit_length(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]]
    )
