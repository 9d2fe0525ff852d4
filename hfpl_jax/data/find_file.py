"""Finds a listed file on disk, though its name is written in another Unicode form
there, or its extension in another case; for one that is not there, says which name may
be meant.
"""

import functools
import os
import pathlib
import unicodedata


class Finder:
    """Files below `folder`; lists a folder only when a name is not found in it."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._names, self._by_letters = functools.cache(_names), functools.cache(_by_letters)

    def find(self, file_name: str) -> pathlib.Path:
        """The file of this name, part by part in any normal form of Unicode; where
        there is none, where it should be.
        """
        path = self.folder / file_name
        if file_name.isascii() or not is_absent(path):
            return path
        found = self.folder
        for part in pathlib.PurePath(file_name).parts:
            if is_absent(found / part):
                alike = [name for name in self._names(found) if normal(name) == normal(part)]
                part = alike[0] if len(alike) == 1 else part
            found /= part
        return found

    def in_any_case(self, file_name: str) -> tuple[list[str], list[str]]:
        """The files, relative to the folder, whose names differ from this one in the
        case of the extension at most, and those that differ in that of other letters.
        """
        name = pathlib.PurePath(file_name)
        folder, stem = self.find(str(name.parent)), normal(name.stem)
        same, others = [], []
        for other in self._by_letters(folder).get(normal(name.name).casefold(), ()):
            path = folder / other
            found = same if normal(path.stem) == stem else others
            found.append(str(path.relative_to(self.folder)))
        return same, others

    def hint(self, file_name: str) -> str:
        """For a name that is not there: " (did you mean ...?)", or nothing."""
        slashed = file_name.replace("\\", "/")
        if slashed != file_name and not is_absent(self.find(slashed)):
            return f" (did you mean {slashed!r}, with '/' between folders?)"
        path = pathlib.PurePath(file_name)
        for name in self._names(self.folder / path.parent):
            if name.casefold() == path.name.casefold() or pathlib.PurePath(name).stem in (
                path.name,
                path.stem,
            ):
                return f" (did you mean {str(path.with_name(name))!r}?)"
        return ""


def is_absent(path: pathlib.Path) -> bool:
    """Whether there is nothing of this name; what cannot be looked at may be there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _names(folder: pathlib.Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(folder)))
    except OSError:
        return ()


def _by_letters(folder: pathlib.Path) -> dict[str, list[str]]:
    """The names in a folder by what they are in any case."""
    names: dict[str, list[str]] = {}
    for name in _names(folder):
        names.setdefault(normal(name).casefold(), []).append(name)
    return names


def normal(name: str) -> str:
    """A name in the form of Unicode in which names are compared."""
    return unicodedata.normalize("NFC", name)
