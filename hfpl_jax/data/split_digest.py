"""Three hashes of a prepared split: of the photographs with their labels, of the masks
and instances, which train no classifier, and of the photographs alone.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any


class SplitDigest:
    """Hashes the examples that pass through it, in their order."""

    def __init__(self):
        self._photographs, self._masks = hashlib.sha256(), hashlib.sha256()
        self._images = hashlib.sha256()

    def passing(self, examples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for example in examples:
            fields = [example[name] for name in ("file_name", "labels", "height", "width")]
            self._photographs.update(json.dumps(fields).encode())
            image = hashlib.sha256(example["image"]).digest()
            self._photographs.update(image)
            self._images.update(image)
            mask = example["segmentation_mask"] if example["has_mask"] else b""
            self._masks.update(hashlib.sha256(mask).digest())
            if example["has_instances"]:
                self._masks.update(json.dumps(example["instances"]).encode())
            yield example

    def hashes(self) -> dict[str, str]:
        return {
            "photographs": self._photographs.hexdigest(),
            "masks": self._masks.hexdigest(),
            "images": self._images.hexdigest(),
        }
