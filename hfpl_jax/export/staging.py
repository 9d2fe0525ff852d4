"""An export is whole or absent: it is written into a staging folder beside its place, then moved."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from hfpl_jax.atomic import TEMPORARY, writing


@contextlib.contextmanager
def staging_folder(final: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields an empty folder beside `final`; gone after the block, whatever happened, with all that was not moved out of it.

    What a killed run left behind is removed first.
    """
    staged = final.with_name(final.name + TEMPORARY)
    with writing(final):
        if staged.exists():
            shutil.rmtree(staged)
        staged.mkdir(parents=True)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def replace_folder(staged: pathlib.Path, final: pathlib.Path) -> None:
    """Gives `staged` the name `final`. A reader sees the old folder, for an instant none, then the new one; never a mixture."""
    with writing(final):
        old = final.with_name(final.name + ".old" + TEMPORARY)
        if old.exists():
            shutil.rmtree(old)
        if final.exists():
            os.replace(final, old)
        os.replace(staged, final)
        shutil.rmtree(old, ignore_errors=True)
