"""Hashes of files' contents, each computed once: kept, with the size and the times that
the file had, beside the prepared data and not among the user's files.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import stat
import time

from hfpl_jax.errors import InputError
from hfpl_jax.runtime import atomic

FILE_NAME = "content_hashes.json"

ABSENT = "-"
"""The hash of a file that is not there."""

_TICK_S = 2.0
"""A file that changed so short ago may change again without another time (FAT counts in
two seconds), so its hash is not kept."""


class ContentHashes:
    """The hashes kept in a folder. Damaged ones are none: they only save time."""

    def __init__(self, folder: str | os.PathLike):
        self._path = pathlib.Path(folder) / FILE_NAME
        self._kept: dict[str, list] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError, RecursionError):
            kept = json.loads(self._path.read_bytes())
            if isinstance(kept, dict) and all(_is_entry(entry) for entry in kept.values()):
                self._kept = kept

    def of(self, path: str | os.PathLike) -> str:
        """The hash of a file; only one whose size or times changed is read."""
        key = os.path.abspath(path)
        try:
            before = _state(path)
            if self._kept.get(key, [])[:-1] == before:
                return self._kept[key][-1]
            if not stat.S_ISREG(os.stat(path).st_mode):
                return ABSENT  # a pipe may never end
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ABSENT
        if before == _state(path) and time.time() - before[1] / 1e9 > _TICK_S:
            self._kept[key], self._changed = [*before, found], True
        return found

    def note(self, path: str | os.PathLike, found: str) -> None:
        """Keeps `found` as what was last seen at a path."""
        entry = [0, 0, 0, found]
        if self._kept.get(os.path.abspath(path)) != entry:
            self._kept[os.path.abspath(path)], self._changed = entry, True

    def last_seen(self, path: str | os.PathLike) -> str:
        """What was kept of a path, whatever lies there now; `ABSENT` if nothing was."""
        return self._kept.get(os.path.abspath(path), [ABSENT])[-1]

    def save(self) -> None:
        """Writes what is new, where that is allowed."""
        if self._changed:
            with contextlib.suppress(InputError):
                atomic.atomic_write(self._path, json.dumps(self._kept, indent=0) + "\n")
            self._changed = False


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 4
        and all(isinstance(number, int) for number in entry[:3])
        and isinstance(entry[3], str)
    )


def _state(path: str | os.PathLike) -> list[int]:
    """Size, and times of the last change of the content and of anything else."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
