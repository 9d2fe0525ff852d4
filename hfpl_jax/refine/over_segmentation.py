"""A photograph cut into superpixels along its edges."""

import numpy as np
from skimage.color import rgb2lab
from skimage.filters import sobel
from skimage.segmentation import watershed

from hfpl_jax.shapes import Float, Int, UInt8, typed

COMPACTNESS = 1e-3


@typed
def lab_of(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """CIE Lab / 100: lightness from 0 to 1."""
    return rgb2lab(image) / 100.0


@typed
def superpixels(image: UInt8[np.ndarray, "h w 3"], count: int) -> Int[np.ndarray, "h w"]:
    """Superpixels 0, 1, ... by the compact watershed of the gradient, from a grid of
    markers: `count` at most, and nearly so many where there are as many pixels.

    Source: Neubert and Protzel, "Compact Watershed and Preemptive SLIC", ICPR 2014.
    """
    height, width = image.shape[:2]
    number = round(float(np.clip(np.sqrt(count * height / width), 1, min(height, count))))
    rows, columns = _middles(height, number), _middles(width, min(count // number, width))
    markers = np.zeros((height, width), np.int32)
    markers[np.ix_(rows, columns)] = 1 + np.arange(len(rows) * len(columns)).reshape(len(rows), -1)
    gradient = np.max([sobel(channel) for channel in np.moveaxis(lab_of(image), -1, 0)], axis=0)
    return watershed(gradient, markers, compactness=COMPACTNESS).astype(np.int64) - 1


def _middles(side: int, number: int) -> np.ndarray:
    """Of so many equal parts of a side."""
    return ((np.arange(number) + 0.5) * side / number).astype(int)
