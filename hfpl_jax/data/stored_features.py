"""Features of photographs as a frozen backbone has made them once, read a photograph at
a time, and a layer at a time.

Of each photograph there are several records, one behind the other: its name, its
colours, and one for each layer. A photograph that is in two splits is there once.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.runtime import atomic
from hfpl_jax.runtime.records import Record, RecordReader
from hfpl_jax.runtime.stage_json import read_stage_json, unusable

LISTING = "photographs.json"
"""In the folder of the stage: where the records are, and which photographs splits have.
"""

COLOURS = "colours"
PIXELS = 4
"""Of the stored colours, along each side of a cell of the finest feature: as many as a
decoder may make of it.
"""


@dataclasses.dataclass(frozen=True)
class Listed:
    """The photographs of a split in its order.

    Attributes:
      keys: of their records, a hash of their bytes.
      names: of their files.
      labels: zero-based foreground classes.
    """

    keys: Sequence[str]
    names: Sequence[str]
    labels: Sequence[Sequence[int]]


def write_listing(
    folder: pathlib.Path, records: str, strides: Mapping[str, int], splits: Mapping[str, Listed]
) -> None:
    """Into the stage's folder.

    Args:
      records: their folder, absolute or seen from `folder`.
      strides: of each layer.
      splits: by name.
    """
    listed = {name: dataclasses.asdict(each) for name, each in splits.items()}
    content = {"records": records, "strides": dict(strides), "splits": listed}
    atomic.atomic_write(folder / LISTING, json.dumps(content, ensure_ascii=True) + "\n")


def cells(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of a feature of this stride."""
    return -(-size[0] // stride), -(-size[1] // stride)


def parts(key: str, colours: np.ndarray, maps: Mapping[str, np.ndarray]) -> list[Record]:
    """A photograph's records."""
    arrays = {COLOURS: colours, **maps}
    return [
        {"file_name": key},
        *({"file_name": key, "part": name, "array": array} for name, array in arrays.items()),
    ]


def parts_count(layers: int) -> int:
    return 2 + layers


class StoredSplit(Sequence["StoredPhotograph"]):
    """The photographs of a split, in its order; picklable for Grain workers.

    Raises:
      InputError: the folder holds no such features, or damaged ones.
    """

    def __init__(self, folder: pathlib.Path, split: str):
        path = folder / LISTING
        content = read_stage_json(path)
        try:
            self.listed = Listed(**content["splits"][split])
            self.strides = {name: int(stride) for name, stride in content["strides"].items()}
            self._records = folder / content["records"]
            if not len(self.listed.keys) == len(self.listed.names) == len(self.listed.labels):
                raise ValueError("its lists are not of one length")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unusable(path, error) from error
        if not any(self._records.glob("*.array_record")):
            raise InputError(
                f"There are no features in {self._records}, where {path} has them. Add features "
                "to --stages, which makes them again."
            )
        self._reader = RecordReader(self._records)
        places = {
            self._reader[place]["file_name"]: place
            for place in range(0, len(self._reader), parts_count(len(self.strides)))
        }
        missing = [
            name
            for key, name in zip(self.listed.keys, self.listed.names, strict=True)
            if key not in places
        ]
        if missing:
            raise InputError(
                f"There are no features of {missing[0]} in {self._records}. Add features to "
                "--stages, which makes those that are missing."
            )
        self._places = [places[key] for key in self.listed.keys]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> "StoredPhotograph":
        return StoredPhotograph(self, range(len(self))[index])

    def part(self, index: int, name: str) -> np.ndarray:
        """The colours, or a layer, of a photograph."""
        number = 1 + (COLOURS, *self.strides).index(name)
        record = self._reader[self._places[index] + number]
        if (record["file_name"], record["part"]) != (self.listed.keys[index], name):
            raise InputError(
                f"The features of {self.listed.names[index]} in {self._records} are damaged: one "
                f"is missing where {name} should be. Delete that folder and run the stage again."
            )
        return record["array"]


@dataclasses.dataclass(frozen=True)
class Blank(Sequence["StoredPhotograph"]):
    """In place of a `StoredSplit` that is not there yet: zeros, for photographs of one
    size.

    Attributes:
      listed: the photographs.
      strides, widths: pixels between two positions and channels, of each layer by name.
      size: height and width that the backbone would see.
    """

    listed: Listed
    strides: Mapping[str, int]
    widths: Mapping[str, int]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.listed.keys)

    def __getitem__(self, index: int) -> "StoredPhotograph":
        return StoredPhotograph(self, range(len(self))[index])

    def part(self, index: int, name: str) -> np.ndarray:
        del index
        if name != COLOURS:
            shape = (*cells(self.size, self.strides[name]), self.widths[name])
            return np.zeros(shape, np.float16)
        height, width = cells(self.size, min(self.strides.values()))
        return np.zeros((PIXELS * height, PIXELS * width, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class StoredPhotograph:
    """One of a `StoredSplit`, or of a `Blank`."""

    split: StoredSplit | Blank
    index: int

    @property
    def file_name(self) -> str:
        return self.split.listed.names[self.index]

    @property
    def labels(self) -> np.ndarray:
        return np.asarray(self.split.listed.labels[self.index], np.int64)

    @property
    def strides(self) -> Mapping[str, int]:
        """Pixels between two positions, of each layer by name."""
        return self.split.strides

    def colours(self) -> np.ndarray:
        """uint8 [PIXELS h, PIXELS w, 3], of the photograph at the size of the finest
        feature [h, w].
        """
        return self.split.part(self.index, COLOURS)

    def map(self, layer: str) -> np.ndarray:
        """float16 [h, w, k]."""
        return self.split.part(self.index, layer)
