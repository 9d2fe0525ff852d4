"""Scores and suppression, computed a pixel at a time or by hand."""

import numpy as np
import pytest
from scipy import ndimage

from hfpl_jax.inference.instance_scores import (
    at_size,
    best_proposals,
    beyond_class,
    contours,
    proposal_scores,
    survivors,
)


def box(rows, columns, shape=(8, 10)):
    region = np.zeros(shape, bool)
    region[rows, columns] = True
    return region


def random_regions(*shape):
    return np.random.default_rng(0).random(shape) < 0.7


@pytest.mark.parametrize("shape", [(3, 12, 9), (2, 1, 1), (2, 1, 7), (1, 2, 3), (0, 4, 5)])
@pytest.mark.parametrize("reach", [1, 2])
def test_contours_are_what_growing_adds_and_shrinking_takes(shape, reach):
    regions, window = random_regions(*shape), np.ones((2 * reach + 1,) * 2)
    expected = [
        ndimage.binary_dilation(one, window)
        & ~ndimage.binary_erosion(one, window, border_value=True)
        for one in regions
    ]
    np.testing.assert_array_equal(contours(regions, reach=reach), np.reshape(expected, shape))


def test_a_region_at_another_size():
    region = box(slice(0, 2), slice(0, 3), (4, 6))[None]
    np.testing.assert_array_equal(
        at_size(region, (8, 12))[0], box(slice(0, 4), slice(0, 6), (8, 12))
    )
    np.testing.assert_array_equal(at_size(region, (2, 2))[0], [[True, False], [False, False]])


@pytest.mark.parametrize("eight_bits", [False, True])
def test_where_a_class_is_not(eight_bits):
    class_map = np.array([[-4.0, 4.0], [0.0, 0.0]])  # raised by 4: mean 4
    found = beyond_class(class_map, (2, 2), factor=0.9, eight_bits=eight_bits)
    np.testing.assert_array_equal(found, [[True, False], [False, False]])
    found = beyond_class(class_map, (2, 2), factor=1.1, eight_bits=eight_bits)
    np.testing.assert_array_equal(found, [[True, False], [True, True]])
    assert not beyond_class(np.full((3, 4), -7.0), (6, 8), eight_bits=eight_bits).any()
    assert beyond_class(class_map, (20, 30)).shape == (20, 30)


def test_scores_pixel_by_pixel():
    rng = np.random.default_rng(1)
    responses, regions = rng.random((3, 6, 7)), random_regions(5, 6, 7)
    beyond = rng.random((3, 6, 7)) < 0.5
    edges, found = contours(regions), proposal_scores(responses, beyond, regions, beta=0.01)
    for peak, region in np.ndindex(3, 5):
        inside = regions[region]
        expected = 0.8 * responses[peak][inside].sum() + responses[peak][edges[region]].sum()
        expected -= 0.01 * (inside & beyond[peak]).sum()
        assert found[peak, region] == pytest.approx(expected, rel=1e-5)


def test_regions_that_are_too_small_or_too_large_have_no_score():
    full, half = box(slice(0, 8), slice(0, 10)), box(slice(0, 4), slice(0, 10))
    regions = np.stack([full, half, box(0, 0), np.zeros_like(full)])
    responses, beyond = np.full((1, 8, 10), 1 / 80), np.zeros((1, 8, 10), bool)
    scores = proposal_scores(responses, beyond, regions)
    np.testing.assert_array_equal(np.isfinite(scores), [[False, True, True, False]])
    scores = proposal_scores(responses, beyond, regions, largest=2.0, smallest=0.2)
    np.testing.assert_array_equal(np.isfinite(scores), [[True, True, False, False]])
    one_pixel = np.ones((1, 1, 1), bool)
    assert proposal_scores(np.ones((1, 1, 1)), ~one_pixel, one_pixel) == -np.inf
    for peaks, count in ((0, 4), (1, 0)):
        assert proposal_scores(responses[:peaks], beyond[:peaks], regions[:count]).shape == (
            peaks,
            count,
        )


def test_the_best_proposal_of_each_peak():
    scores = np.array([[1.0, 3.0, 3.0], [-np.inf] * 3, [5.0, 0.0, -np.inf], [-2.0, -3.0, -2.0]])
    peaks, regions = best_proposals(scores)
    np.testing.assert_array_equal(peaks, [2, 0, 3])
    np.testing.assert_array_equal(regions, [0, 1, 0])
    assert [len(each) for each in best_proposals(np.zeros((2, 0)))] == [0, 0]
    assert [len(each) for each in best_proposals(np.zeros((0, 2)))] == [0, 0]


def test_what_overlaps_a_better_one_joins_the_first_that_stays():
    left, right = box(slice(0, 8), slice(0, 4)), box(slice(0, 8), slice(6, 10))
    middle = box(slice(0, 8), slice(2, 6))  # IoU 1/3 with the left one, 0 with the right
    between = box(slice(0, 8), slice(4, 8))  # 1/3 with the middle, which goes, and the right
    regions = np.stack([left, middle, right, between, left])
    np.testing.assert_array_equal(survivors(regions), [0, 0, 2, 2, 0])
    np.testing.assert_array_equal(survivors(regions, overlap=0.4), [0, 1, 2, 3, 0])
    assert survivors(regions[:0]).shape == (0,)
