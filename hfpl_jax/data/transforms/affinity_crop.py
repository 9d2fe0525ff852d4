"""Augmentation of the affinity network's training: a photograph and the scores its
labels come from are changed together. NumPy.
"""

import numpy as np

from hfpl_jax.data.transforms.affinity_labels import affinity_label_map
from hfpl_jax.data.transforms.resample import RGB
from hfpl_jax.data.transforms.train_crop import random_color_jitter, random_overlap
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
      crop: the padding is black, a colour like any other: unlike in CAM training, it is
        normalised with the rest, not set to the mean.
      labels: 255 where the padding is all of a cell.

    Source: SEAM, train_aff.py and VOC12AffDataset: cropping comes before normalising
    there.
    """
    if rng.random() < 0.5:
        image, scores_low_alpha, scores_high_alpha = (
            array[:, ::-1] for array in (image, scores_low_alpha, scores_high_alpha)
        )
    image = random_color_jitter(rng, np.ascontiguousarray(image))
    (read_rows, write_rows), (read_columns, write_columns) = (
        random_overlap(rng, side, crop_size) for side in image.shape[:2]
    )

    def crop(array: np.ndarray) -> np.ndarray:
        square = np.zeros((crop_size, crop_size, array.shape[-1]), array.dtype)
        square[write_rows, write_columns] = array[read_rows, read_columns]
        return square

    return crop(image), affinity_label_map(
        crop(scores_low_alpha), crop(scores_high_alpha), classes, cell=cell
    )
