"""Records between stages: flat dicts in ArrayRecord shards that are whole or absent.

A folder holds `records-p00-00000.array_record`, `records-p00-00001.array_record`, ...:
`p00` is the process that wrote the shard, so that several processes write into one
folder without communicating. A shard appears under its name only when all its records
are in it; a killed stage therefore loses at most one shard's work and resumes after the
last whole one (`finished_records`). Values are stored as msgpack (never pickle):
str, int, float, bytes, NumPy arrays of any numeric type, lists of int or of dicts of
these.
"""

import bisect
import functools
import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from flax import serialization

from hfpl_jax.errors import InputError
from hfpl_jax.runtime import atomic
from hfpl_jax.runtime.termination import Stopped

Record = Mapping[str, str | int | float | bytes | np.ndarray | list[int] | list[dict]]

_SHARD = re.compile(r"records-p(\d{2,})-(\d{5,})\.array_record")
_WRITER_OPTIONS = (
    "group_size:1"  # one record a compressed chunk: a random read decompresses that record alone
)
# Random access; no threads, so a reader survives a fork
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_OPEN_SHARDS = 32  # COCO has more shards than a process may open files


def _shard_path(directory: pathlib.Path, process_index: int, shard: int) -> pathlib.Path:
    return directory / f"records-p{process_index:02d}-{shard:05d}.array_record"


def _shards(directory: pathlib.Path) -> list[tuple[int, int, pathlib.Path]]:
    """(process, shard, path) of the whole shards, in order."""
    if not directory.is_dir():
        return []
    matches = ((_SHARD.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted((int(match[1]), int(match[2]), path) for match, path in matches if match)


def _damaged(path: pathlib.Path, error: object = "") -> InputError:
    reason = f" ({error})" if error else ""
    return InputError(
        f"The record shard {path} is damaged{reason}. Delete it and run the stage that writes it "
        "again."
    )


def _unwritable(path: pathlib.Path, error: object) -> InputError:
    return InputError(
        f"Cannot write {path}: {error}. Free some space or choose another folder, then run the "
        "command again."
    )


def _open(path: pathlib.Path) -> ArrayRecordReader:
    try:
        reader = ArrayRecordReader(os.fspath(path), _READER_OPTIONS)
        whole = reader.ok() and reader.num_records() > 0
    except RuntimeError as error:
        raise _damaged(path, error) from error
    if not whole:  # no shard is ever written without a record
        raise _damaged(path)
    return reader


class RecordWriter:
    """`with RecordWriter(directory) as writer: writer.write(record)`: shards of
    `shard_size` records, the last one shorter.

    The records of the shard being filled are kept in memory. If the block ends with an
    exception they are dropped, and the whole shards stay; if it ends because the
    command is to stop, they become a short shard.

    Args:
      directory: made if missing; one stage's records and nothing else.
      shard_size: records a shard; also the most that a killed run loses.
      first_shard: number of the first shard written, as `finished_records` gives it.
      process_index: this process among those that write into `directory`.

    Raises:
      InputError: a shard cannot be written (full disk, no permission); the message
        names it.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        shard_size: int = 64,
        first_shard: int = 0,
        process_index: int = 0,
    ):
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, got {shard_size}.")
        self._directory = pathlib.Path(directory)
        self._shard_size, self._shard, self._process_index = shard_size, first_shard, process_index
        self._pending: list[bytes] = []

    def __enter__(self) -> "RecordWriter":
        try:  # now rather than after the first shard's worth of work
            self._directory.mkdir(parents=True, exist_ok=True)
            for leftover in self._directory.glob(
                f"records-p{self._process_index:02d}-*{atomic.TEMPORARY}"
            ):
                leftover.unlink(missing_ok=True)  # of a run that was killed
        except OSError as error:
            raise _unwritable(self._directory, error.strerror or error) from error
        return self

    def write(self, *records: Record) -> None:
        """Adds one record, or some that stay together; as soon as there are
        `shard_size` of them, they reach the disk.
        """
        self._pending += [serialization.msgpack_serialize(dict(record)) for record in records]
        if len(self._pending) >= self._shard_size:
            self._finish_shard()

    def _finish_shard(self) -> None:
        path = _shard_path(self._directory, self._process_index, self._shard)
        with atomic.atomic_path(path) as temporary:
            try:
                writer = ArrayRecordWriter(os.fspath(temporary), _WRITER_OPTIONS)
                for data in self._pending:
                    writer.write(data)
                writer.close()
            except (
                RuntimeError
            ) as error:  # ArrayRecord's name for a full disk or a missing permission
                raise _unwritable(path, error) from error
        self._pending = []
        self._shard += 1

    def __exit__(self, exc_type, *_) -> None:
        if self._pending and (exc_type is None or exc_type is Stopped):
            self._finish_shard()
        self._pending = []


class _Read(dict):
    """A record that knows its shard: a field that is not there makes it a damaged
    one.
    """

    def __init__(self, fields: dict, path: pathlib.Path):
        super().__init__(fields)
        self._path = path

    def __missing__(self, field: str):
        raise _damaged(self._path, f"a record has no {field!r}")

    def __reduce__(self):
        return _Read, (dict(self), self._path)


class RecordReader:
    """Random access to all whole shards of `directory`, ordered by process, shard and
    position; picklable for Grain workers.

    `reader[i]` is a dict; its arrays are read-only views.

    Raises:
      InputError: no shard in `directory`, or a damaged one; when a record is read,
        bytes that are none, and a field it does not have. The message names the shard.
    """

    def __init__(self, directory: str | os.PathLike):
        self._paths = [path for _, _, path in _shards(pathlib.Path(directory))]
        if not self._paths:
            raise InputError(
                f"There are no records in {os.fspath(directory)}. Run the stage that writes them "
                "first."
            )
        self._ends = np.cumsum([_open(path).num_records() for path in self._paths]).tolist()
        self._reader = functools.lru_cache(_OPEN_SHARDS)(_open)

    def __getstate__(self) -> dict:
        return {"_paths": self._paths, "_ends": self._ends}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _reader=functools.lru_cache(_OPEN_SHARDS)(_open))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        index %= len(self)
        shard = bisect.bisect_right(self._ends, index)
        start = self._ends[shard - 1] if shard else 0
        path = self._paths[shard]
        try:
            record = serialization.msgpack_restore(self._reader(path).read([int(index - start)])[0])
        except InputError:
            raise
        except (
            Exception
        ) as error:  # whatever damaged bytes make ArrayRecord, msgpack and flax raise
            raise _damaged(path, error) from error
        if not isinstance(record, dict):
            raise _damaged(path, f"a record is of the type {type(record).__name__}")
        return _Read(record, path)


def resume(
    directory: str | os.PathLike, *, shard_size: int, process_index: int, parts: int = 1
) -> tuple[set[str], RecordWriter]:
    """The file names whose records a killed stage has in whole shards already, and the
    writer of those that are left: `parts` records of each, of which the first has its
    name, of `shard_size` names a shard.
    """
    done, next_shard = finished_records(directory, process_index=process_index, parts=parts)
    return set(done), RecordWriter(directory, parts * shard_size, next_shard, process_index)


def finished_records(
    directory: str | os.PathLike,
    key: str = "file_name",
    process_index: int = 0,
    parts: int = 1,
) -> tuple[list[str], int]:
    """What a killed stage need not do again: `record[key]` of every record in a whole
    shard, of each `parts` the first, and the number of the next shard to write.

    Names come from all processes' shards, the number from those of `process_index`.
    `([], 0)` for a folder that is empty or missing.

    Raises:
      InputError: a shard is damaged; the message names it.
    """
    shards = _shards(pathlib.Path(directory))
    if not shards:
        return [], 0
    reader = RecordReader(directory)
    names = [reader[index][key] for index in range(0, len(reader), parts)]
    return names, 1 + max(
        (shard for process, shard, _ in shards if process == process_index), default=-1
    )
