"""Files that are either whole or absent: written under a temporary name, then
renamed.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from hfpl_jax.errors import InputError

TEMPORARY = ".incomplete"
"""Suffix of a file that is still being written; such files are never read."""


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns a failure to write (full disk, no permission) inside the block into an
    InputError that names `path`.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # ArrayRecord raises RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"Cannot write {path}: {reason}. Free some space or choose another folder, then run "
            "the command again."
        ) from error


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`; it takes the name `path` only if the block
    ends without an exception.

    Raises:
      InputError: the file cannot be written (full disk, no permission); the message
        names the path.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # the bytes reach the disk before the name does
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # no file, or a folder that is none
            temporary.unlink()
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise InputError(
                f"Cannot write {path}: {reason}. Free some space or choose another folder, then "
                "run the command again."
            ) from error
        raise


def atomic_write(path: str | os.PathLike, data: bytes | str) -> None:
    """Writes a whole file or none."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
