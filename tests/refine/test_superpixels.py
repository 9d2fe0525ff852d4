"""Refinement by regions that grow from superpixels."""

import numpy as np
import pytest

from hfpl_jax.refine.background import threshold_background
from hfpl_jax.refine.over_segmentation import lab_of, superpixels
from hfpl_jax.refine.refiner import Photograph
from hfpl_jax.refine.region_merging import grown_regions
from hfpl_jax.refine.superpixels import Superpixels


@pytest.fixture
def photograph():
    """A red and a green rectangle on blue, and blurred CAMs of both."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 2] = 200
    image[6:25, 8:24] = (220, 30, 30)
    image[12:36, 34:52] = (40, 200, 40)
    image = image + np.random.default_rng(0).integers(0, 9, image.shape, np.uint8)
    y, x = np.mgrid[:40, :60]
    middles = (13, 18, 120), (26, 41, 160)
    bumps = [np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / width) for cy, cx, width in middles]
    return Photograph(image, np.stack(bumps, axis=-1).astype(np.float32), np.array([2, 5]), 0.3)


def test_objects_get_their_own_outlines(photograph):
    mask, confidence = Superpixels(count=200).refine(photograph)
    truth = np.zeros((40, 60), np.uint8)
    truth[6:25, 8:24], truth[12:36, 34:52] = 3, 6
    wrong = np.mean(mask != truth)
    assert mask.dtype == confidence.dtype == np.uint8
    plain = np.where(photograph.cams.max(-1) > 0.3, np.array([3, 6])[photograph.cams.argmax(-1)], 0)
    assert wrong < 0.5 * np.mean(plain != truth)


def test_a_region_has_the_class_of_the_largest_mean(photograph):
    refiner = Superpixels(count=30, tau=0.05, last=1.5)
    mask, confidence = refiner.refine(photograph)
    pieces = superpixels(photograph.image, 30)
    regions = grown_regions(lab_of(photograph.image), pieces, tau=0.05, last=1.5)[pieces]
    scores = threshold_background(photograph.cams, 0.3).astype(np.float64)
    for region in np.unique(regions):
        own = regions == region
        means = scores[own].mean(axis=0)
        assert set(mask[own]) == {[0, 3, 6][means.argmax()]}
        first, second = np.sort(means / means.sum())[[-1, -2]]
        assert np.abs(confidence[own] - 255 * (first - second)).max() < 0.51


def test_ties_go_to_the_background(photograph):
    even = photograph._replace(cams=np.full((40, 60, 2), 0.3, np.float32))
    mask, confidence = Superpixels().refine(even)
    assert not mask.any()
    assert not confidence.any()


def test_a_flat_photograph_is_of_one_class(photograph):
    flat = photograph._replace(image=np.full((40, 60, 3), 77, np.uint8))
    means = photograph.cams.mean(axis=(0, 1))
    for threshold, label in ((0.9 * means.max(), [3, 6][means.argmax()]), (1.1 * means.max(), 0)):
        mask, _ = Superpixels().refine(flat._replace(threshold=float(threshold)))
        assert set(mask.ravel()) == {label}


def test_one_superpixel_and_one_pixel(photograph):
    assert len(np.unique(Superpixels(count=1).refine(photograph).mask)) == 1
    pixel = photograph._replace(image=photograph.image[:1, :1], cams=photograph.cams[13:14, 18:19])
    assert Superpixels().refine(pixel).mask.tolist() == [[3]]


def test_a_photograph_of_no_class_is_background(photograph):
    empty = photograph._replace(cams=photograph.cams[..., :0], classes=np.zeros(0, int))
    mask, confidence = Superpixels().refine(empty)
    assert not mask.any()
    assert (confidence == 255).all()
