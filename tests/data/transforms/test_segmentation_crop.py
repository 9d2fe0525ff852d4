import io

import numpy as np
import pytest
from PIL import Image

from hfpl_jax.data.example import Example, encode_mask
from hfpl_jax.data.transforms.segmentation_crop import (
    SegmentationCrop,
    UnlabelledCrop,
    random_hsv,
    random_paired_crop,
    random_scale,
)
from hfpl_jax.errors import InputError


def photograph(labels):
    """The red channel is 20 times the label, so that it tells where each pixel went."""
    image = np.full((*labels.shape, 3), 90, np.uint8)
    image[..., 0] = 20 * labels
    return image


def example(labels, mask=True):
    png = io.BytesIO()
    Image.fromarray(photograph(labels)).save(png, "PNG")
    return Example(
        "1.png", png.getvalue(), np.array([0]), encode_mask(labels) if mask else None, *labels.shape
    )


def test_hsv_without_reach_changes_nothing_but_rounding():
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    there_and_back = np.asarray(Image.fromarray(image).convert("HSV").convert("RGB"))
    np.testing.assert_array_equal(
        random_hsv(np.random.default_rng(1), image, reach=0.0), there_and_back
    )


def test_hsv_shifts_every_channel_within_its_reach():
    grey = np.full((3, 3, 3), 100, np.uint8)
    values = [int(random_hsv(np.random.default_rng(seed), grey).max()) for seed in range(60)]
    assert min(values) < 95
    assert max(values) > 105
    assert 90 <= min(values) <= max(values) <= 110


def test_scale_keeps_image_and_labels_together():
    labels = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((8, 8), np.uint8))
    sizes = set()
    for seed in range(20):
        image, scaled = random_scale(
            np.random.default_rng(seed), photograph(labels), labels, 0.5, 1.5
        )
        assert image.shape[:2] == scaled.shape
        sizes.add(scaled.shape)
        assert set(np.unique(scaled)) == set(range(6))
        assert (
            np.mean(np.abs(image[..., 0] / 20.0 - scaled) < 0.3) > 0.5
        )  # the filter blurs the borders of the cells
    assert len(sizes) > 10
    assert all(8 <= height <= 24 for height, _ in sizes)


@pytest.mark.parametrize("size", [3, 9])
def test_crop_pads_with_ignored_pixels(size):
    labels = np.arange(1, 25, dtype=np.uint8).reshape(4, 6) % 10
    crop, valid, target = random_paired_crop(
        np.random.default_rng(0), photograph(labels), labels, size
    )
    assert crop.shape == (size, size, 3)
    assert valid.sum() == min(4, size) * min(6, size)
    np.testing.assert_array_equal(target[~valid], 255)
    np.testing.assert_array_equal(crop[~valid], 0)
    np.testing.assert_array_equal(crop[valid][:, 0], 20 * target[valid])


def test_the_whole_recipe():
    labels = np.kron(np.array([[0, 1], [2, 255]], np.uint8), np.ones((16, 16), np.uint8))
    transform = SegmentationCrop(num_classes=2, crop_size=24, scale_range=(0.5, 1.5))
    first, again = (
        transform.random_map(example(labels), np.random.default_rng(4)) for _ in range(2)
    )
    for name in ("image", "valid", "labels"):
        np.testing.assert_array_equal(first[name], again[name])
    crops = [
        transform.random_map(example(labels), np.random.default_rng(seed))["labels"]
        for seed in range(12)
    ]
    assert {crop.shape for crop in crops} == {(24, 24)}
    assert set(np.unique(np.stack(crops))) == {0, 1, 2, 255}
    assert {bool(crop[0, 0] == 1) for crop in crops} == {True, False}  # mirrored or not


def test_bad_label_maps_are_named():
    transform = SegmentationCrop(num_classes=2, crop_size=24, scale_range=(1.0, 1.0))
    rng = np.random.default_rng(0)
    labels = np.zeros((8, 8), np.uint8)
    with pytest.raises(InputError, match=r"1\.png has no mask"):
        transform.random_map(example(labels, mask=False), rng)
    with pytest.raises(InputError, match=r"label map of 1\.png holds \[3, 7\].*1 to 2"):
        transform.random_map(example(np.array([[0, 3], [7, 255]], np.uint8)), rng)
    whole = example(labels)
    other = Example(
        "1.png", whole.image, whole.labels, encode_mask(np.zeros((8, 9), np.uint8)), 8, 8
    )
    with pytest.raises(InputError, match=r"mask of 1\.png is 9x8 pixels, the photograph 8x8"):
        transform.random_map(other, rng)


def test_a_photograph_alone_is_cropped_as_with_its_mask():
    whole = example(np.kron(np.array([[0, 1], [2, 255]], np.uint8), np.ones((16, 16), np.uint8)))
    for seed in range(4):
        labelled, alone = (
            transform.random_map(whole, np.random.default_rng(seed))
            for transform in (SegmentationCrop(2, 24, (0.5, 1.5)), UnlabelledCrop(24, (0.5, 1.5)))
        )
        assert alone.keys() == {"image", "valid"}
        np.testing.assert_array_equal(alone["image"], labelled["image"])
        np.testing.assert_array_equal(alone["valid"], labelled["valid"])
