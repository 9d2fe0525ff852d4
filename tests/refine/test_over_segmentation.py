"""Superpixels of photographs of any size."""

import numpy as np
import pytest
from scipy import ndimage

from hfpl_jax.refine.over_segmentation import superpixels


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 3), (60, 90)])
@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("flat", [True, False])
def test_they_are_numbered_without_gaps_and_each_is_of_one_piece(size, count, flat):
    rng = np.random.default_rng(0)
    image = (
        np.full((*size, 3), 90, np.uint8) if flat else rng.integers(0, 256, (*size, 3), np.uint8)
    )
    pieces = superpixels(image, count)
    assert pieces.shape == size
    number = int(pieces.max()) + 1
    assert np.unique(pieces).tolist() == list(range(number))
    assert number <= min(count, size[0] * size[1])
    assert number >= 0.4 * min(count, size[0] * size[1])
    for name in range(number):
        assert ndimage.label(pieces == name, np.ones((3, 3)))[1] == 1


def test_they_end_at_edges():
    image = np.zeros((32, 48, 3), np.uint8)
    image[7:26, 9:31] = (255, 180, 0)
    inside = image[..., 0] > 0

    def across(pieces):
        """Share of the pixels on the smaller side of a superpixel."""
        sizes, own = np.bincount(pieces.ravel()), np.bincount(pieces.ravel(), inside.ravel())
        return np.minimum(own, sizes - own).sum() / inside.size

    squares = np.arange(32)[:, None] // 5 * 10 + np.arange(48) // 5
    assert across(superpixels(image, 60)) < 0.015
    assert across(squares) > 0.05
