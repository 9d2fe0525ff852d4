"""The values of a mask: 0 background, 1..C the foreground classes, 255 ignore; how they
follow from CAMs; and their colours, those of PASCAL VOC, so that the PNGs look alike
everywhere. No image codec is imported here.
"""

import numpy as np

from hfpl_jax.shapes import Float, Int, UInt8, typed

IGNORE = 255
"""Mask value of a pixel that is neither background nor a class: no metric and no loss
counts it.
"""


@typed
def label_map(
    cams: Float[np.ndarray, "h w n"], classes: Int[np.ndarray, "n"], *, threshold: float
) -> UInt8[np.ndarray, "h w"]:
    """The labels at one threshold: 0 where no CAM exceeds it (a tie goes to the
    background), else 1 + the strongest class.

    Of equally strong classes the first wins. The comparison is made in float32.

    Args:
      cams: float32, in [0, 1], one map for each class of the image.
      classes: zero-based foreground classes of the maps, ascending.
      threshold: background score.
    """
    if not len(classes):
        return np.zeros(cams.shape[:2], np.uint8)
    strongest, strength = strongest_class(cams)
    return np.where(
        strength > np.float32(threshold), (classes + 1).astype(np.uint8)[strongest], np.uint8(0)
    )


@typed
def strongest_class(
    cams: Float[np.ndarray, "h w n"],
) -> tuple[Int[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The map that is strongest in each pixel, the first of equals, and its float32
    value; there is at least one map.
    """
    # a running maximum: several times faster than argmax over a short last axis
    strength = cams[..., 0].astype(np.float32)
    strongest = np.zeros(strength.shape, np.int64)
    for i in range(1, cams.shape[-1]):
        stronger = cams[..., i] > strength
        strongest[stronger] = i
        strength[stronger] = cams[..., i][stronger]
    return strongest, strength


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
