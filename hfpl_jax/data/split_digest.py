"""Two hashes of a prepared split: of the photographs with their labels, and of the
masks and instances, which train no classifier; and its index.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from hfpl_jax.data.index import Entry, split_hash


class SplitDigest:
    """Of the examples that pass through it, in their order.

    Attributes:
      entries: the index of those that have passed.
    """

    def __init__(self):
        self.entries: list[Entry] = []
        self._masks = hashlib.sha256()

    def passing(self, examples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for example in examples:
            name, labels = example["file_name"], np.asarray(example["labels"], np.int64)
            image_hash = hashlib.sha256(example["image"]).hexdigest()
            self.entries.append(
                Entry(name, labels, example["height"], example["width"], image_hash)
            )
            mask = example["segmentation_mask"] if example["has_mask"] else b""
            self._masks.update(hashlib.sha256(mask).digest())
            if example["has_instances"]:
                self._masks.update(json.dumps(example["instances"]).encode())
            yield example

    def hashes(self) -> dict[str, str]:
        return {"photographs": split_hash(self.entries), "masks": self._masks.hexdigest()}
