"""An export is whole or absent: it is written into a staging folder beside its place,
then moved."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Protocol

from hfpl_jax.runtime import distributed
from hfpl_jax.runtime.atomic import TEMPORARY, writing


def write_file(path: pathlib.Path, data: bytes) -> None:
    """Writes a file into a staging folder, with the folders above it."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class _Closes(Protocol):
    def close(self) -> None: ...


@contextlib.contextmanager
def closing(file: _Closes, path: pathlib.Path) -> Iterator[None]:
    """Closes a file or a writer of `path` after the block; its bytes reach the disk
    before it is given its name.
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError, RuntimeError):  # the first error is the one to tell
            file.close()
        raise
    with writing(path):
        file.close()
        with open(path, "rb") as written:
            os.fsync(written.fileno())


@contextlib.contextmanager
def staging_folder(final: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields an empty folder beside `final`; gone after the block, whatever happened,
    with all that was not moved out of it.

    All processes of a run get the same one: the first makes it before the block of any
    begins and removes it after its own, so that one has to end last. What a killed run
    left behind, or a process that went on for a moment after the first had failed, is
    removed first.
    """
    staged = final.with_name(final.name + TEMPORARY)
    if distributed.is_first():
        with writing(final):
            if staged.exists():
                shutil.rmtree(staged)
            staged.mkdir(parents=True)
    try:
        distributed.meet()
        yield staged
    finally:
        if distributed.is_first():
            shutil.rmtree(staged, ignore_errors=True)


def replace_folder(staged: pathlib.Path, final: pathlib.Path) -> None:
    """Gives `staged` the name `final`. A reader sees the old folder, for an instant
    none, then the new one; never a mixture.
    """
    with writing(final):
        old = final.with_name(final.name + ".old" + TEMPORARY)
        if old.exists():
            shutil.rmtree(old)
        if final.exists():
            os.replace(final, old)
        os.replace(staged, final)
        shutil.rmtree(old, ignore_errors=True)


def move_files(staged: pathlib.Path, final: pathlib.Path) -> None:
    """Moves every file below `staged` to its place below `final`, which may hold others."""
    for path in sorted(staged.rglob("*")):
        if path.is_file():
            place = final / path.relative_to(staged)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
