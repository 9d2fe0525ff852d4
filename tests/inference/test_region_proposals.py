"""Proposals of a pseudo-label."""

import numpy as np
import pytest

from hfpl_jax.inference.region_proposals import MOST, own_proposals

GRAY = np.full((40, 60, 3), 128, np.uint8)


def has(regions, region):
    return any(np.array_equal(one, region) for one in regions)


def test_components_come_first_and_the_largest_before_all():
    mask = np.zeros((40, 60), np.uint8)
    mask[2:8, 2:8], mask[20:38, 30:58], mask[10, 10], mask[0, 50:] = 3, 3, 1, 255
    regions, classes = own_proposals(mask, GRAY)
    np.testing.assert_array_equal(classes[:3], [2, 2, 0])
    np.testing.assert_array_equal(regions[0], (mask == 3) & (np.arange(60) > 20))
    np.testing.assert_array_equal(regions[1], (mask == 3) & (np.arange(60) < 20))
    np.testing.assert_array_equal(regions[2], mask == 1)
    assert set(classes.tolist()) == {0, 2}
    for region, label in zip(regions, classes, strict=True):
        assert region.any()
        assert (mask[region] == label + 1).all()
    assert len(np.unique(regions.reshape(len(regions), -1), axis=0)) == len(regions)
    sizes = regions[3:].sum((1, 2))
    assert (np.diff(sizes) <= 0).all()


def test_pixels_that_touch_at_a_corner_are_one_component():
    mask = np.zeros((40, 60), np.uint8)
    mask[0:4, 0:4], mask[4:8, 4:8] = 1, 1
    regions, _ = own_proposals(mask, GRAY)
    np.testing.assert_array_equal(regions[0], mask == 1)


def test_two_things_of_two_colours_that_touch_are_proposed_each():
    mask, image = np.zeros((40, 60), np.uint8), GRAY.copy()
    mask[10:30, 10:50] = 1
    image[:, 30:] = 250, 30, 30
    left = (mask == 1) & (np.arange(60) < 30)
    regions, _ = own_proposals(mask, image)
    assert has(regions, mask == 1)
    assert has(regions, left)
    assert has(regions, (mask == 1) & ~left)


def test_no_more_than_the_most():
    mask = np.zeros((40, 60), np.uint8)
    mask[::2, ::2] = 1  # 600 components of a pixel
    assert len(own_proposals(mask, GRAY)[0]) == MOST
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    mask[:20] = 2
    regions, classes = own_proposals(mask, noise)
    assert len(regions) == len(classes) == MOST


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_without_a_class_has_no_proposals(value):
    regions, classes = own_proposals(np.full((40, 60), value, np.uint8), GRAY)
    assert regions.shape == (0, 40, 60)
    assert classes.shape == (0,)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2)])
def test_the_smallest_photographs(size):
    regions, classes = own_proposals(np.ones(size, np.uint8), np.zeros((*size, 3), np.uint8))
    assert regions[0].all()
    assert not classes.any()
