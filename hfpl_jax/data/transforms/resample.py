"""A photograph at another size, in Pillow: for training and for inference."""

import numpy as np
from PIL import Image

from hfpl_jax.shapes import UInt8, typed

RGB = UInt8[np.ndarray, "h w 3"]


@typed
def resize(image: RGB, height: int, width: int) -> UInt8[np.ndarray, "height2 width2 3"]:
    """Resamples with Pillow's bicubic filter, which widens when it shrinks an image, so
    it does not alias.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


@typed
def resize_for_scale(image: RGB, scale: float) -> UInt8[np.ndarray, "height2 width2 3"]:
    """Resizes by a factor for multi-scale inference: `round(h * scale)` rows, `round(w
    * scale)` columns, at least one of each.
    """
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return resize(image, height, width)


@typed
def resize_long(image: RGB, long_side: int) -> UInt8[np.ndarray, "height2 width2 3"]:
    """Resizes so that the longer side has `long_side` pixels; the aspect ratio is kept
    up to rounding.
    """
    height, width = image.shape[:2]
    if width < height:
        return resize(image, long_side, max(1, round(width * long_side / height)))
    return resize(image, max(1, round(height * long_side / width)), long_side)
