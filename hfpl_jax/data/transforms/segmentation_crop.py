"""Augmentations of the segmentation network's training: photograph and label map are
changed together. NumPy and Pillow.
"""

import dataclasses

import grain
import numpy as np
from PIL import Image

from hfpl_jax.data.dataset import Example, decode_image, decode_mask
from hfpl_jax.data.transforms.resample import RGB
from hfpl_jax.data.transforms.train_crop import random_overlap
from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE
from hfpl_jax.shapes import Bool, UInt8, typed

LabelMap = UInt8[np.ndarray, "h w"]


@typed
def random_hsv(rng: np.random.Generator, image: RGB, reach: float = 10.0) -> RGB:
    """Adds a number drawn from [-reach, reach] to hue, saturation and value each.

    The unit is a step of an 8-bit channel; the hue's is 2 degrees, as in OpenCV, whose
    8-bit hue ends at 180.
    """
    hue, saturation, value = rng.uniform(-reach, reach, 3)
    channels = np.asarray(Image.fromarray(image).convert("HSV")).astype(np.float32)
    steps = [hue * 256.0 / 180.0, saturation, value]  # Pillow's circle of hues has 256
    channels += np.asarray(steps, np.float32)
    channels[..., 0] %= 256.0
    rounded = np.clip(np.rint(channels), 0, 255).astype(np.uint8)
    return np.asarray(
        Image.merge("HSV", [Image.fromarray(rounded[..., index]) for index in range(3)]).convert(
            "RGB"
        )
    )


@typed
def random_scale(
    rng: np.random.Generator, image: RGB, labels: LabelMap, low: float, high: float
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], UInt8[np.ndarray, "h2 w2"]]:
    """Resizes by a factor uniform in [low, high]: the photograph with Pillow's bicubic
    filter, the labels to the nearest pixel.
    """
    factor = rng.uniform(low, high)
    height, width = (max(1, round(side * factor)) for side in labels.shape)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized), np.asarray(
        Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
    )


@typed
def random_paired_crop(
    rng: np.random.Generator, image: RGB, labels: LabelMap, size: int
) -> tuple[
    UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"], UInt8[np.ndarray, "size size"]
]:
    """The same random square of both. Returns the crop (0 in the padding), where it is
    not padding, and the labels (255 in it).
    """
    crop, valid, target = (
        np.zeros((size, size, 3), np.uint8),
        np.zeros((size, size), bool),
        np.full((size, size), IGNORE, np.uint8),
    )
    (read_rows, write_rows), (read_columns, write_columns) = (
        random_overlap(rng, side, size) for side in labels.shape
    )
    crop[write_rows, write_columns] = image[read_rows, read_columns]
    valid[write_rows, write_columns] = True
    target[write_rows, write_columns] = labels[read_rows, read_columns]
    return crop, valid, target


@dataclasses.dataclass(frozen=True)
class SegmentationCrop(grain.transforms.RandomMap):
    """Example with a mask -> {"image", "valid", "labels"}: HSV jitter, flip, random
    scale, random crop.

    Source: the final stage of the published program, where the jitter is 10 and the
    scale 0.5 to 1.5.
    """

    num_classes: int
    crop_size: int
    scale_range: tuple[float, float]

    def random_map(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        if example.segmentation_mask is None:
            raise InputError(
                f"{example.file_name} has no mask, so no segmentation network can learn from it. "
                "Export its pseudo-label."
            )
        image = decode_image(example.image, example.file_name)
        labels = decode_mask(example.segmentation_mask, example.file_name)
        check_label_map(labels, self.num_classes, example.file_name)
        if labels.shape != image.shape[:2]:
            raise InputError(
                f"The mask of {example.file_name} is {labels.shape[1]}x{labels.shape[0]} pixels, "
                f"the photograph {image.shape[1]}x{image.shape[0]}. Make its pseudo-label again."
            )
        return _augmented(rng, image, labels, self.crop_size, self.scale_range)


@dataclasses.dataclass(frozen=True)
class UnlabelledCrop(grain.transforms.RandomMap):
    """Example -> {"image", "valid"}: the same crop of a photograph alone."""

    crop_size: int
    scale_range: tuple[float, float]

    def random_map(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = decode_image(example.image, example.file_name)
        labels = np.zeros(image.shape[:2], np.uint8)
        made = _augmented(rng, image, labels, self.crop_size, self.scale_range)
        return {"image": made["image"], "valid": made["valid"]}


def _augmented(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    crop_size: int,
    scale_range: tuple[float, float],
) -> dict[str, np.ndarray]:
    image = random_hsv(rng, image)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    image, labels = random_scale(rng, image, labels, *scale_range)
    crop, valid, target = random_paired_crop(rng, image, labels, crop_size)
    return {"image": crop, "valid": valid, "labels": target}


def check_label_map(labels: np.ndarray, num_classes: int, file_name: str) -> None:
    """Raises InputError, naming the photograph, if a label map holds a class that is
    not known.
    """
    values = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    unknown = [int(value) for value in values if num_classes < value < IGNORE]
    if unknown:
        raise InputError(
            f"The label map of {file_name} holds {unknown}, but known are 0 (background), 1 to "
            f"{num_classes} and {IGNORE} (ignore). "
            "Use the class names the labels were made with."
        )
