"""Photographs on disk that belong to no dataset: which files are meant, whether each can
be read, and their pixels when they are wanted.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hfpl_jax.data.example import Example, decode_image
from hfpl_jax.data.find_file import Finder
from hfpl_jax.data.image_file import SKIP
from hfpl_jax.data.name_checks import check_relative
from hfpl_jax.data.photographs import read_bytes
from hfpl_jax.errors import InputError
from hfpl_jax.runtime.cores import available_cores
from hfpl_jax.runtime.progress import track

SUFFIXES = (".jpg", ".jpeg", ".png")

_WANTED = "it is one of the photographs"
_LOST = "Put the file there, or leave it out."


@dataclasses.dataclass(frozen=True)
class Listing:
    """Photographs below a folder.

    Attributes:
      root: the folder.
      names: relative to it, sorted.
      others: files of other kinds that were met beside them.
    """

    root: pathlib.Path
    names: tuple[str, ...]
    others: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Found:
    """A file that was looked at.

    Attributes:
      file_name: relative to the folder of all.
      bytes: its size.
      height, width: of the upright picture; 0 where it cannot be read.
      reason: why it cannot be read; "" where it can.
    """

    file_name: str
    bytes: int
    height: int
    width: int
    reason: str = ""


def list_photographs(given: Sequence[str]) -> Listing:
    """The JPEG and PNG files that are named, and those in the folders that are named and
    below them; hidden ones are not looked at.

    Raises:
      InputError: a path that is not there; no photograph; a name that no output can
        have.
    """
    files: dict[pathlib.Path, None] = {}
    others, roots = [], []
    for path in map(pathlib.Path, given):
        if path.is_dir():
            roots.append(path.absolute())
            for file in files_below(path.absolute()):
                if file.suffix.lower() in SUFFIXES:
                    files[file] = None
                else:
                    others.append(str(file))
        elif path.is_file():
            roots.append(path.absolute().parent)
            files[path.absolute()] = None
        else:
            hint = Finder(path.parent).hint(path.name)
            raise InputError(
                f"--photographs={path} is neither a file nor a folder{hint}. Correct the path."
            )
    if not files:
        where = ", ".join(map(str, given)) or "what --photographs names"
        raise InputError(
            f"There is no photograph in {where}: no file that ends in {', '.join(SUFFIXES)}. "
            "Name a folder of photographs, or the files."
        )
    root = pathlib.Path(os.path.commonpath(roots))
    names = sorted(file.relative_to(root).as_posix() for file in files)
    for name in names:
        check_relative(name, f"A file in {root}")
    return Listing(root, tuple(names), tuple(others))


def files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """In their order, without hidden ones."""
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield pathlib.Path(path, name)


def look_at(listing: Listing) -> Iterator[Found]:
    """Reads and decodes every file once, in threads, in their order."""
    workers = min(available_cores(), 16)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting: list[concurrent.futures.Future[Found]] = []
        for name in track(listing.names, "looking at photographs", len(listing.names)):
            waiting.append(pool.submit(_found, listing.root, name))
            if len(waiting) > 4 * workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _found(root: pathlib.Path, name: str) -> Found:
    data = b""
    try:
        data = read_bytes(root / name, _WANTED, _LOST)
        height, width = decode_image(data, str(root / name)).shape[:2]
    except InputError as error:
        reason = str(error).replace(f", or {SKIP}.", ".")
        return Found(name, len(data), 0, 0, reason)
    return Found(name, len(data), int(height), int(width))


@dataclasses.dataclass(frozen=True)
class PhotographFiles(Sequence[Example]):
    """Files that can be read, each read when it is asked for.

    Attributes:
      root: the folder of all.
      found: of `look_at`.
      labels: zero-based classes by name; a file that has none there has none.
    """

    root: pathlib.Path
    found: Sequence[Found]
    labels: Mapping[str, Sequence[int]]

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, index: int) -> Example:
        found = self.found[index]
        path = self.root / found.file_name
        data = read_bytes(path, _WANTED, _LOST)
        if len(data) != found.bytes:
            raise InputError(
                f"{path} has changed since it was looked at. Give the command with another "
                "--output, or delete that folder first."
            )
        labels = np.asarray(self.labels.get(found.file_name, ()), np.int64)
        return Example(found.file_name, data, labels, None, found.height, found.width)
