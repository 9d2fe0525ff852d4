"""What is known of the photographs of a split without reading them: names, labels and
sizes, written with a prepared dataset, so that no JPEG is read for any of these.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from hfpl_jax.data.example import Example
from hfpl_jax.runtime import atomic


@dataclasses.dataclass(frozen=True)
class Entry:
    """A photograph, but for its pixels, its mask and its instances.

    Attributes:
      file_name, labels, height, width: as those of an `Example`.
      image_hash: SHA-256 of the bytes of its image, in hexadecimal.
    """

    file_name: str
    labels: np.ndarray
    height: int
    width: int
    image_hash: str

    @classmethod
    def of(cls, example: Example) -> "Entry":
        found = hashlib.sha256(example.image).hexdigest()
        return cls(example.file_name, example.labels, example.height, example.width, found)

    def content(self) -> bytes:
        """What a split's hash is made of."""
        fields = [self.file_name, self.labels.tolist(), self.height, self.width]
        return json.dumps(fields).encode() + bytes.fromhex(self.image_hash)


@runtime_checkable
class Indexed(Protocol):
    """Photographs that know of themselves what an `Entry` says."""

    def entries(self) -> Sequence[Entry]: ...


def entries_of(photographs: Sequence[Example] | Indexed) -> Sequence[Entry | Example]:
    """What gives the name, labels and size of each; none is read where there is an
    index.
    """
    return photographs.entries() if isinstance(photographs, Indexed) else photographs


def split_hash(entries: Iterable[Entry]) -> str:
    """A hash of photographs with their labels, in their order."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(entry.content())
    return digest.hexdigest()


def write_index(folder: str | os.PathLike, split: str, entries: Sequence[Entry]) -> None:
    """Into the folder of the dataset."""
    rows = ({**vars(entry), "labels": entry.labels.tolist()} for entry in entries)
    lines = ",\n".join(json.dumps(list(row.values())) for row in rows)
    atomic.atomic_write(_path(folder, split), f"[\n{lines}\n]\n")


def read_index(folder: str | os.PathLike, split: str) -> list[Entry] | None:
    """None where there is none: exports and datasets of earlier versions have none.

    Raises:
      ValueError, TypeError, RecursionError: it is damaged.
    """
    path = _path(folder, split)
    if not path.exists():
        return None
    return [
        Entry(name, np.asarray(labels, np.int64), height, width, image_hash)
        for name, labels, height, width, image_hash in json.loads(path.read_bytes())
    ]


def _path(folder: str | os.PathLike, split: str) -> pathlib.Path:
    return pathlib.Path(folder) / f"index.{split}.json"
