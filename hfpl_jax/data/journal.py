"""Notes of the photographs already checked, so that an interrupted preparation does not
decode and paint them again.
"""

import contextlib
import json
import os
import pathlib
import sqlite3
import threading
import time

import numpy as np

from hfpl_jax.data.example import Example
from hfpl_jax.instance import Instance

_COMMIT_EVERY_S = 2.0


class Journal:
    """Labels, mask, instances and, where it was stored anew, the photograph by (split,
    file name), valid while `key`, the state of the files they came from, is the same.

    Holds no photograph whose bytes stay as they are: those are copied from the source
    again. Safe to use from several threads; what was added in the last two seconds
    before a crash is lost, nothing else. Damaged notes, or ones that cannot be written,
    are none: they only save time.
    """

    def __init__(self, path: str | os.PathLike):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock, self._committed = threading.Lock(), time.monotonic()
        try:
            self._open(path)
        except sqlite3.DatabaseError:
            for damaged in path.parent.glob(f"{path.name}*"):  # sqlite's own journals too
                damaged.unlink()
            self._open(path)

    def _open(self, path: pathlib.Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS example (split TEXT, file_name TEXT, key TEXT, labels "
            "TEXT, height INT, width INT, mask BLOB, instances TEXT, image BLOB, changes TEXT, "
            "PRIMARY KEY (split, file_name))"
        )
        self._database.execute(
            "SELECT labels, mask, instances, height, width, image, changes, split, file_name, key "
            "FROM example"
        ).fetchone()

    def get(
        self, split: str, file_name: str, key: str, image: bytes
    ) -> tuple[Example, tuple[str, ...]] | None:
        """The noted example around `image` or what was stored in its place, and what
        was done to the photograph; None if there is none, or none in this state of the
        files.
        """
        try:
            with self._lock:
                row = self._database.execute(
                    "SELECT labels, mask, instances, height, width, image, changes FROM example "
                    "WHERE split = ? AND file_name = ? AND key = ?",
                    (split, file_name, key),
                ).fetchone()
            if row is None:
                return None
            labels, mask, instances, height, width, anew, changes = row
            labels, listed = np.asarray(json.loads(labels), np.int64), json.loads(instances)
            found = None if listed is None else tuple(Instance.decode(one) for one in listed)
            example = Example(file_name, anew or image, labels, mask, height, width, found)
            return example, tuple(json.loads(changes))
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError):
            return None

    def add(self, split: str, key: str, example: Example, changes: tuple[str, ...]) -> None:
        listed = example.instances
        row = (
            split,
            example.file_name,
            key,
            json.dumps(example.labels.tolist()),
            example.height,
            example.width,
            example.segmentation_mask,
            json.dumps(None if listed is None else [one.encode() for one in listed]),
            example.image if changes else None,
            json.dumps(changes),
        )
        with self._lock, contextlib.suppress(sqlite3.DatabaseError):
            self._database.execute(
                "INSERT OR REPLACE INTO example VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
            if time.monotonic() - self._committed > _COMMIT_EVERY_S:
                self._database.commit()
                self._committed = time.monotonic()

    def close(self) -> None:
        with contextlib.suppress(sqlite3.DatabaseError):
            self._database.commit()
        self._database.close()
