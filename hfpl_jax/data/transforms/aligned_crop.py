"""Augmentation of a training on maps: a photograph and the maps its labels come from are
changed together. NumPy.
"""

from collections.abc import Sequence

import numpy as np

from hfpl_jax.data.transforms.color_jitter import random_color_jitter
from hfpl_jax.data.transforms.resample import RGB
from hfpl_jax.data.transforms.train_crop import random_overlap
from hfpl_jax.shapes import Float, UInt8, typed


@typed
def aligned_crop(
    rng: np.random.Generator,
    image: RGB,
    maps: Sequence[Float[np.ndarray, "h w _"]],
    *,
    crop_size: int,
) -> tuple[UInt8[np.ndarray, "size size 3"], list[Float[np.ndarray, "size size _"]]]:
    """Flip, colour jitter and random crop of one training photograph, at its own size,
    and of its maps.

    Args:
      image: the photograph.
      maps: at its size.
      crop_size: side of the crop in pixels; a smaller photograph lies at a random place
        inside, the rest is 0: a colour like any other, which unlike in CAM training is
        normalised with the rest, not set to the mean.

    Source: SEAM, train_aff.py and VOC12AffDataset: cropping comes before normalising
    there.
    """
    if rng.random() < 0.5:
        image, maps = image[:, ::-1], [each[:, ::-1] for each in maps]
    image = random_color_jitter(rng, np.ascontiguousarray(image))
    (read_rows, write_rows), (read_columns, write_columns) = (
        random_overlap(rng, side, crop_size) for side in image.shape[:2]
    )

    def crop(array: np.ndarray) -> np.ndarray:
        square = np.zeros((crop_size, crop_size, array.shape[-1]), array.dtype)
        square[write_rows, write_columns] = array[read_rows, read_columns]
        return square

    return crop(image), [crop(each) for each in maps]
