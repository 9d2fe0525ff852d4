"""Notes of the photographs already checked, so that an interrupted preparation does not
decode and paint them again.
"""

import contextlib
import json
import os
import shutil
import threading

import numpy as np

from hfpl_jax.data.example import Example
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance
from hfpl_jax.runtime.records import RecordReader, RecordWriter, finished_records

_SHARD_SIZE = 64


class Journal:
    """Labels, mask, instances and, where it was stored anew, the photograph by file
    name, valid while `key`, the state of the files they came from, is the same.

    Holds no photograph whose bytes stay as they are: those are copied from the source
    again. Safe to use from several threads; a kill loses the last 64 notes at most.
    Damaged notes, or ones that cannot be written, are none: they only save time.

    Args:
      folder: of one split's records and nothing else.
    """

    def __init__(self, folder: str | os.PathLike):
        self._lock = threading.Lock()
        try:
            self._open(folder)
        except InputError:
            shutil.rmtree(folder, ignore_errors=True)
            self._open(folder)

    def _open(self, folder: str | os.PathLike) -> None:
        names, shard = finished_records(folder)
        self._noted = RecordReader(folder) if names else None
        self._places = {name: place for place, name in enumerate(names)}  # the latest of each
        self._writer: RecordWriter | None = RecordWriter(folder, _SHARD_SIZE, shard).__enter__()

    def get(self, file_name: str, key: str, image: bytes) -> tuple[Example, tuple[str, ...]] | None:
        """The noted example around `image` or what was stored in its place, and what
        was done to the photograph; None if there is none, or none in this state of the
        files.
        """
        place = self._places.get(file_name)
        if self._noted is None or place is None:
            return None
        try:
            with self._lock:
                note = self._noted[place]
            said = json.loads(note["said"])
            if said["key"] != key:
                return None
            found = said["instances"]
            example = Example(
                file_name,
                note["image"] or image,
                np.asarray(said["labels"], np.int64),
                note["mask"] or None,
                said["height"],
                said["width"],
                None if found is None else tuple(Instance.decode(one) for one in found),
            )
            return example, tuple(said["changes"])
        except (InputError, ValueError, TypeError, KeyError):
            return None

    def add(self, key: str, example: Example, changes: tuple[str, ...]) -> None:
        listed = example.instances
        said = {
            "key": key,
            "labels": example.labels.tolist(),
            "height": example.height,
            "width": example.width,
            "instances": None if listed is None else [one.encode() for one in listed],
            "changes": changes,
        }
        note = {
            "file_name": example.file_name,
            "said": json.dumps(said),
            "mask": example.segmentation_mask or b"",
            "image": example.image if changes else b"",
        }
        with self._lock:
            try:
                if self._writer:
                    self._writer.write(note)
            except InputError:
                self._writer = None

    def close(self) -> None:
        with self._lock, contextlib.suppress(InputError):
            if self._writer:
                self._writer.__exit__(None, None, None)
