"""An export is whole or absent: it is written into a staging folder beside its place,
then moved, a file at a time."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from hfpl_jax.runtime import distributed
from hfpl_jax.runtime.atomic import TEMPORARY, writing


def write_file(path: pathlib.Path, data: bytes) -> None:
    """Writes a file into a staging folder, with the folders above it."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


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


def replace_folder(staged: pathlib.Path, final: pathlib.Path, last: str = "") -> None:
    """Puts the files of `staged` into `final`, in place of all that is there, one by
    one and each whole. No folder is renamed: object stores cannot.

    The file `last` is removed first and put there last, and so says to a reader that
    the others are whole; "" where a file outside `final` says it.
    """
    with writing(final):
        if last:
            (final / last).unlink(missing_ok=True)
        if final.exists():
            shutil.rmtree(final)
        files = sorted(path for path in staged.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path == staged / last):
            place = final / path.relative_to(staged)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
