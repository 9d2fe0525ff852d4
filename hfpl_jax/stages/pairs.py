"""A stage's records of a split beside the photographs they were made from."""

import functools
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from hfpl_jax.data.dataset import Example, Split
from hfpl_jax.data.index import Entry, entries_of
from hfpl_jax.errors import InputError
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.stages.context import Context

T = TypeVar("T", Example, Entry, Entry | Example)


class Pairs(Sequence[tuple[dict, Example]]):
    """(record, photograph) of every record in the order they were written; random
    access, also for data workers.

    The order is that of the batches and processes that wrote them, and another in every
    stage: records of two stages belong together by their photograph, never by position.

    Raises:
      InputError: a photograph has no record, or two; when a record is read, it belongs
        to another photograph, or its maps have another size.
    """

    def __init__(self, context: Context, stage: str, split: str):
        self._photographs: Split = context.dataset.split(split)
        self._folder = context.workdir / stage / split
        self._again = f"Delete the folder {stage} in the workdir and run the stage {stage} again."
        self.records = RecordReader(self._folder)
        self._order: Sequence[int] = range(len(self.records))
        if len(self.records) != len(self._photographs):
            raise InputError(
                f"There are records of {len(self.records)} photographs in {self._folder}, but "
                f"{split!r} has {len(self._photographs)}. "
                f"{self._again}"
            )

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> tuple[dict, Example]:
        record = self.records[self._order[index]]
        return record, self._checked(record, self._photographs[self._place(record)])

    def known(self, index: int) -> tuple[dict, Entry | Example]:
        """The same for those who need of the photograph no more than an `Entry` says:
        where there is an index, it is not read.
        """
        record = self.records[self._order[index]]
        return record, self._checked(record, self._entries[self._place(record)])

    @functools.cached_property
    def _entries(self) -> Sequence[Entry | Example]:
        return entries_of(self._photographs)

    def _checked(self, record: dict, example: T) -> T:
        """`example`, of which the record says it is."""
        if example.file_name != record["file_name"]:
            raise InputError(
                f"The record of {record['file_name']} in {self._folder} stands where the dataset "
                f"has {example.file_name}. {self._again}"
            )
        size = record.get("height", example.height), record.get("width", example.width)
        if size != (example.height, example.width):
            raise InputError(
                f"The maps of {example.file_name} in {self._folder} are {size[1]}x{size[0]} "
                f"pixels, the photograph {example.width}x{example.height}. {self._again}"
            )
        return example

    def __iter__(self) -> Iterator[tuple[dict, Example]]:
        return (self[index] for index in range(len(self)))

    def sort(self) -> None:
        """From now on in the order of the split, whichever batches and processes wrote
        them: `pairs[i]` is the split's photograph i. Reads every record once.
        """
        places = np.array([self._place(record) for record in self.records])
        self._order = np.argsort(places).tolist()
        missing = np.setdiff1d(np.arange(len(self._photographs)), places)
        if missing.size:
            raise InputError(
                f"In {self._folder} a photograph has two records, and "
                f"{self._entries[int(missing[0])].file_name} has none. {self._again}"
            )

    def in_order(self) -> Iterator[dict]:
        """The records alone, without opening a photograph."""
        return (self.records[position] for position in self._order)

    def _place(self, record: dict) -> int:
        """Position of the record's photograph in the split."""
        place = record["index"]
        if not isinstance(place, int) or not 0 <= place < len(self._photographs):
            raise InputError(
                f"The record of {record['file_name']} in {self._folder} has the index "
                f"{place!r:.40}. {self._again}"
            )
        return place
