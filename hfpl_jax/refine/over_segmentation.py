"""A photograph cut into superpixels along its edges."""

import numpy as np
from skimage.color import rgb2lab
from skimage.filters import sobel
from skimage.segmentation import watershed

from hfpl_jax.shapes import Float, Int, UInt8, typed

COMPACTNESS = 1e-3
REACH = 2
"""Pixels that a marker goes at most to leave an edge."""


@typed
def lab_of(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """CIE Lab / 100: lightness from 0 to 1."""
    return rgb2lab(image) / 100.0


@typed
def superpixels(image: UInt8[np.ndarray, "h w 3"], count: int) -> Int[np.ndarray, "h w"]:
    """Superpixels 0, 1, ... by the compact watershed of the gradient, from a grid of
    markers, each moved to the least gradient about it: `count` at most, and nearly so
    many where there are as many pixels.

    Source: Neubert and Protzel, "Compact Watershed and Preemptive SLIC", ICPR 2014; the
    markers' moves are SLIC's.
    """
    height, width = image.shape[:2]
    gradient = np.max([sobel(channel) for channel in np.moveaxis(lab_of(image), -1, 0)], axis=0)
    number = round(float(np.clip(np.sqrt(count * height / width), 1, min(height, count))))
    rows, row_reach = _middles(height, number)
    columns, column_reach = _middles(width, min(count // number, width))
    rows, columns = (each.ravel() for each in np.meshgrid(rows, columns, indexing="ij"))
    steps = np.mgrid[-row_reach : row_reach + 1, -column_reach : column_reach + 1].reshape(2, -1)
    steps = steps[:, np.argsort(np.square(steps).sum(axis=0), kind="stable")]
    around = rows[:, None] + steps[0], columns[:, None] + steps[1]
    least = np.argmin(gradient[around], axis=1, keepdims=True)
    rows, columns = (np.take_along_axis(each, least, axis=1)[:, 0] for each in around)
    markers = np.zeros((height, width), np.int32)
    markers[rows, columns] = 1 + np.arange(len(rows))
    return watershed(gradient, markers, compactness=COMPACTNESS).astype(np.int64) - 1


def _middles(side: int, number: int) -> tuple[np.ndarray, int]:
    """Of so many equal parts of a side, and how far one may go without leaving its
    part.
    """
    length = side / number
    return ((np.arange(number) + 0.5) * length).astype(int), min(int((length - 1) / 2), REACH)
