"""Augmentations of the classification stage, in NumPy and Pillow: they run in data
workers, away from any accelerator.

Every random function takes a `numpy.random.Generator` first and depends on nothing
else. Images are 8-bit RGB throughout; normalisation happens on the device. The recipe
is that of SEAM's CAM training: random long side, flip, colour jitter, random crop.
"""

from collections.abc import Callable

import numpy as np

from hfpl_jax.data.transforms.color_jitter import adjusted_part, random_adjustments
from hfpl_jax.data.transforms.resample import RGB, resize_long
from hfpl_jax.shapes import Bool, UInt8, typed

Crop = tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]

Part = Callable[[np.ndarray, slice, slice], np.ndarray]
"""`part(image, rows, columns)`: what a crop shows of them."""


@typed
def random_resize_long(
    rng: np.random.Generator, image: RGB, low: int, high: int
) -> UInt8[np.ndarray, "height2 width2 3"]:
    """Resizes the longer side to an integer drawn uniformly from low, ..., high, both
    ends included.
    """
    return resize_long(image, int(rng.integers(low, high, endpoint=True)))


@typed
def random_flip(rng: np.random.Generator, image: RGB) -> RGB:
    """Mirrors left and right with probability one half."""
    return image[:, ::-1] if rng.random() < 0.5 else image


def random_overlap(rng: np.random.Generator, side: int, size: int) -> tuple[slice, slice]:
    """One axis of a random crop: where to read in an image of this side, where to write
    in a crop of this size.
    """
    offset = int(rng.integers(0, abs(side - size), endpoint=True))
    if side > size:
        return slice(offset, offset + size), slice(0, size)
    return slice(0, side), slice(offset, offset + side)


def _as_it_is(image: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    return image[rows, columns]


@typed
def random_crop(rng: np.random.Generator, image: RGB, size: int, part: Part = _as_it_is) -> Crop:
    """Cuts a square at a random place; an image smaller than the square lies at a
    random place inside it.

    Returns:
      crop: uint8 [size, size, 3]; padding holds 0.
      valid: bool [size, size]; False on padding. Normalised pixels times `valid` make
        the padding the mean colour.
    """
    crop, valid = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), bool)
    read_rows, write_rows = random_overlap(rng, image.shape[0], size)
    read_columns, write_columns = random_overlap(rng, image.shape[1], size)
    crop[write_rows, write_columns] = part(image, read_rows, read_columns)
    valid[write_rows, write_columns] = True
    return crop, valid


@typed
def train_crop(
    rng: np.random.Generator,
    image: RGB,
    *,
    crop_size: int,
    resize_range: tuple[int, int],
    jitter: bool = True,
) -> Crop:
    """The whole recipe for one training image: random long side, flip, colour jitter,
    random crop (see `random_crop` for the result).

    All is drawn in this order, but only the crop is mirrored and, as far as its colours
    allow, jittered: the pixels are the same, in less time.
    """
    image = random_resize_long(rng, image, *resize_range)
    mirrored = rng.random() < 0.5
    adjustments = random_adjustments(rng) if jitter else []

    def part(image: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        if not mirrored:
            return adjusted_part(image, adjustments, rows, columns)
        width = image.shape[1]
        columns = slice(width - columns.stop, width - columns.start)
        return adjusted_part(image, adjustments, rows, columns)[:, ::-1]

    return random_crop(rng, image, crop_size, part)
