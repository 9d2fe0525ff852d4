"""Augmentations of the classification stage, in NumPy and Pillow: they run in data
workers, away from any accelerator.

Every random function takes a `numpy.random.Generator` first and depends on nothing
else. Images are 8-bit RGB throughout; normalisation happens on the device. The recipe
is that of SEAM's CAM training: random long side, flip, colour jitter, random crop.
"""

import numpy as np
from PIL import Image, ImageEnhance

from hfpl_jax.data.transforms.resample import RGB, resize_long
from hfpl_jax.shapes import Bool, UInt8, typed

Crop = tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]


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


def _shift_hue(image: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    # The 256 hue levels are a circle: the addition may wrap around.
    steps = int(turn * 255) % 256
    hue = hue.point([(level + steps) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


_ADJUSTMENTS = {
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "hue": _shift_hue,
}


@typed
def adjust_color(image: RGB, kind: str, amount: float) -> RGB:
    """Changes one property of the colours, with torchvision's meaning on 8-bit images.

    Args:
      image: the photograph.
      kind: "brightness" (blend with black), "contrast" (blend with the mean grey
        level), "saturation" (blend with the grey image) or "hue".
      amount: blending factor (1 = unchanged, below 1 = less of it), or for hue the turn
        of the colour circle in [-0.5, 0.5].
    """
    return np.asarray(_ADJUSTMENTS[kind](Image.fromarray(image), amount))


@typed
def random_color_jitter(
    rng: np.random.Generator,
    image: RGB,
    *,
    brightness: float = 0.3,
    contrast: float = 0.3,
    saturation: float = 0.3,
    hue: float = 0.1,
) -> RGB:
    """Applies the four adjustments in random order, factors uniform in [1 - x, 1 + x]
    and the hue's turn uniform in [-hue, hue].
    """
    spread = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    amounts = {
        kind: rng.uniform(-x, x) + (0.0 if kind == "hue" else 1.0) for kind, x in spread.items()
    }
    photo = Image.fromarray(image)
    for kind in rng.permutation(list(spread)):
        photo = _ADJUSTMENTS[str(kind)](photo, amounts[str(kind)])
    return np.asarray(photo)


def random_overlap(rng: np.random.Generator, side: int, size: int) -> tuple[slice, slice]:
    """One axis of a random crop: where to read in an image of this side, where to write
    in a crop of this size.
    """
    offset = int(rng.integers(0, abs(side - size), endpoint=True))
    if side > size:
        return slice(offset, offset + size), slice(0, size)
    return slice(0, side), slice(offset, offset + side)


@typed
def random_crop(rng: np.random.Generator, image: RGB, size: int) -> Crop:
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
    crop[write_rows, write_columns] = image[read_rows, read_columns]
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
    """
    image = random_flip(rng, random_resize_long(rng, image, *resize_range))
    if jitter:
        image = random_color_jitter(rng, image)
    return random_crop(rng, image, crop_size)
