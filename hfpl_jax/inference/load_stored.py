"""Batches of stored features in the place of batches of images."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import grain
import numpy as np

from hfpl_jax.data.dataset import Split
from hfpl_jax.data.stored_features import StoredSplit, cells
from hfpl_jax.inference.multi_scale import Batch, MultiScale, Photograph


@dataclasses.dataclass(frozen=True)
class LoadStored(grain.transforms.Map):
    """As `LoadBatch` for photographs that are looked at once: in the place of "images"
    are the padded features of their split, by name.
    """

    stored: Mapping[str, StoredSplit]
    photographs: Split
    settings: MultiScale
    shapes: tuple[tuple[int, int], ...]

    def map(self, task: Batch) -> tuple[dict[int, Photograph], list[dict[str, Any]]]:
        shape, indices = task
        photographs = {index: self.photographs[index] for index in indices}
        rows, stored = self.settings.batch_size, self.stored[self.photographs.name]
        sizes = np.full((rows, 2), self.shapes[shape], np.int32)
        for row, each in enumerate(photographs.values()):
            sizes[row] = self.settings.base_size((each.height, each.width))
        features = {}
        for name, stride in stored.strides.items():
            maps = [stored[index].map(name) for index in indices]
            place = np.zeros(
                (rows, *cells(self.shapes[shape], stride), maps[0].shape[-1]), maps[0].dtype
            )
            for row, of_one in enumerate(maps):
                place[row, : of_one.shape[0], : of_one.shape[1]] = of_one
            features[name] = place
        return photographs, [{"images": features, "sizes": sizes}]
