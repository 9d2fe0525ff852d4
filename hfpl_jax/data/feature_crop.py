"""Augmentation of stored features: mirrored and cropped, as their photograph would be."""

import dataclasses

import grain
import numpy as np

from hfpl_jax.data.batches import multi_hot
from hfpl_jax.data.stored_features import PIXELS, StoredPhotograph
from hfpl_jax.data.transforms.train_crop import random_overlap


@dataclasses.dataclass(frozen=True)
class FeatureCrop(grain.transforms.RandomMap):
    """StoredPhotograph -> "features", float16 by name, of a random square of cells of
    the coarsest feature, mirrored or not; "image" and "valid", its colours and where
    they are no padding; "labels" float32 [num_classes].

    A feature of half the stride has twice the cells along a side, and the colours
    `PIXELS` pixels a cell of the finest. A photograph smaller than the square lies at a
    random place inside it; padding is 0.

    Attributes:
      num_classes: foreground classes.
      crop_size: side of the square in pixels of what the backbone saw, rounded down to
        cells, one at least.
    """

    num_classes: int
    crop_size: int

    def random_map(self, photograph: StoredPhotograph, rng: np.random.Generator) -> dict:
        strides = photograph.strides
        coarsest, finest = max(strides.values()), min(strides.values())
        maps = {name: photograph.map(name) for name in strides}
        rows, columns = next(
            maps[name].shape[:2] for name, stride in strides.items() if stride == coarsest
        )
        cells = max(1, self.crop_size // coarsest)
        mirrored = rng.random() < 0.5
        overlaps = [random_overlap(rng, side, cells) for side in (rows, columns)]

        def crop(array: np.ndarray, ratio: int) -> np.ndarray:
            whole = _filled(array, ratio * rows, ratio * columns)
            whole = whole[:, ::-1] if mirrored else whole
            (read_rows, write_rows), (read_columns, write_columns) = (
                [slice(ratio * part.start, ratio * part.stop) for part in overlap]
                for overlap in overlaps
            )
            square = np.zeros((ratio * cells, ratio * cells, *array.shape[2:]), array.dtype)
            square[write_rows, write_columns] = whole[read_rows, read_columns]
            return square

        colours, ratio = photograph.colours(), PIXELS * coarsest // finest
        return {
            "features": {
                name: crop(maps[name], coarsest // stride) for name, stride in strides.items()
            },
            "image": crop(colours, ratio),
            "valid": crop(np.ones(colours.shape[:2], bool), ratio),
            "labels": multi_hot(photograph.labels, self.num_classes, photograph.file_name),
        }


def _filled(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """With zeros at the bottom and right: the cells of a coarse feature may reach
    further beyond the photograph than those of a fine one.
    """
    missing = rows - array.shape[0], columns - array.shape[1]
    if not any(missing):
        return array
    return np.pad(array, [(0, missing[0]), (0, missing[1]), *[(0, 0)] * (array.ndim - 2)])
