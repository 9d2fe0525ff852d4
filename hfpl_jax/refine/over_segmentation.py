"""A photograph cut into superpixels along its edges."""

import numpy as np
import skimage

from hfpl_jax.shapes import Float, Int, UInt8, typed

COMPACTNESS = 20.0
"""As SLIC counts it; with 10 outlines are ragged, and contours worse."""
BLUR = 1.0
"""Pixels: without it what is left of noise is one superpixel."""


@typed
def lab_of(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """CIE Lab / 100: lightness from 0 to 1."""
    return skimage.color.rgb2lab(image) / 100.0


@typed
def superpixels(image: UInt8[np.ndarray, "h w 3"], count: int) -> Int[np.ndarray, "h w"]:
    """Superpixels 0, 1, ... by SLIC, each of one piece: `count` at most.

    Source: Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel
    Methods", TPAMI 2012, as scikit-image has it.
    """
    asked, height, width = count, *image.shape[:2]
    while asked > 1 and height * width > 1:
        pieces = skimage.segmentation.slic(
            image, n_segments=asked, compactness=COMPACTNESS, sigma=BLUR, start_label=0
        )
        names, numbered = np.unique(pieces, return_inverse=True)
        if len(names) <= count:
            return numbered.reshape(height, width)
        asked = min(asked * count // len(names), asked - 1)
    return np.zeros((height, width), np.int64)
