"""Augmentation of the affinity network's training: a photograph and the scores its
labels come from are changed together. NumPy.
"""

import numpy as np

from hfpl_jax.data.transforms.affinity_labels import affinity_label_map
from hfpl_jax.data.transforms.aligned_crop import aligned_crop
from hfpl_jax.data.transforms.resample import RGB
from hfpl_jax.shapes import Float, Int, UInt8, typed


@typed
def affinity_crop(
    rng: np.random.Generator,
    image: RGB,
    scores_low_alpha: Float[np.ndarray, "h w k"],
    scores_high_alpha: Float[np.ndarray, "h w k"],
    classes: Int[np.ndarray, "n"],
    *,
    crop_size: int,
    cell: int = 8,
) -> tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "cells cells"]]:
    """Flip, colour jitter and random crop of one training photograph, at its own size,
    and the crop's label map.

    The label map is made after cropping, because the cells start at the crop's corner.

    Args:
      image: the photograph.
      scores_low_alpha, scores_high_alpha, classes, cell: see `affinity_label_map`.
      crop_size: side of the crop in pixels, a multiple of `cell`; a smaller photograph
        lies at a random place inside.

    Returns:
      crop: the padding is black.
      labels: 255 where the padding is all of a cell.
    """
    crop, (low, high) = aligned_crop(
        rng, image, [scores_low_alpha, scores_high_alpha], crop_size=crop_size
    )
    return crop, affinity_label_map(low, high, classes, cell=cell)
