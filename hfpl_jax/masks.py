"""The values of a mask: 0 background, 1..C the foreground classes, 255 ignore; and
their colours, those of PASCAL VOC, so that the PNGs look alike everywhere. No image
codec is imported here.
"""

import numpy as np

from hfpl_jax.shapes import UInt8, typed

IGNORE = 255
"""Mask value of a pixel that is neither background nor a class: no metric and no loss
counts it.
"""


@typed
def voc_palette() -> UInt8[np.ndarray, "256 3"]:
    """The colour map of the VOC development kit: class index -> red, green, blue.

    The bits of the index are dealt to the three channels in turn, the lowest three bits
    to the highest bit of each channel. Index 0 (background) is black, 1 dark red, 2
    dark green, 255 (ignore) a light cream.
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for shift in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> (3 * shift + channel)) & 1) << (7 - shift)).astype(
                np.uint8
            )
    return palette
