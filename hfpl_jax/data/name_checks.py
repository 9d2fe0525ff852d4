"""Which names can be written down (exports use them as names of files to write and as
lines of a list), which can be those of classes, and which are one and the same.
"""

import pathlib
import unicodedata
from collections.abc import Iterable

from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE

BACKGROUND = "background"
MOST_CLASSES, LONGEST_CLASS_NAME = IGNORE - 1, 200

_LONGEST_NAME, _LONGEST_PART = (
    1000,
    250,
)  # bytes; a file system allows 255 a part, and ours get a suffix

_UNPRINTABLE = {
    "Cc",
    "Cs",
    "Zl",
    "Zp",
}  # control characters, halves of a surrogate pair, line and paragraph separators


def is_one_line(text: str) -> bool:
    """Whether a text can be a line of a UTF-8 file, and comes back from it as it was
    but for blanks around it.
    """
    return not any(unicodedata.category(character) in _UNPRINTABLE for character in text)


def is_inside(file_name: str) -> bool:
    """Whether a name, put behind a folder's, is that of a file in this folder or below
    it.

    It is not if it is empty, absolute, climbs with '..' (in the notation of POSIX or of
    Windows), is no single line, or is longer than a file system allows.
    """
    posix, windows = pathlib.PurePosixPath(file_name), pathlib.PureWindowsPath(file_name)
    if (
        not posix.name
        or posix.is_absolute()
        or windows.anchor
        or ".." in (*posix.parts, *windows.parts)
        or not is_one_line(file_name)
    ):
        return False
    return len(file_name.encode()) <= _LONGEST_NAME and all(
        len(part.encode()) <= _LONGEST_PART for part in posix.parts
    )


def check_relative(file_name: str, where: str) -> None:
    """Refuses a name that leaves its folder: exports use it as the name of a file to
    write.

    Raises:
      InputError: the name is not `is_inside`.
    """
    if not is_inside(file_name):
        raise InputError(
            f"{where}: the file name {file_name[:100]!r} does not lie inside the image folder. "
            "Give a relative name of one line without '..'."
        )


def is_class_name(name: object) -> bool:
    """Whether this is a text of one line, not too long, without blanks around it."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= LONGEST_CLASS_NAME
        and name == name.strip()
        and is_one_line(name)
    )


def is_background(label: object) -> bool:
    """Whether a label says that the photograph shows none of the classes."""
    return isinstance(label, str) and label.casefold() == BACKGROUND


_MEANINGFUL_JOINERS = {"\u200c", "\u200d"}  # Persian and Indic words need them


def clean_name(text: str) -> str:
    """The form in which names are compared and kept: Unicode's NFC, every blank a plain
    one, none around, and no invisible character.
    """
    if text.isascii():
        return text.strip()
    shown = (
        " " if unicodedata.category(character) == "Zs" else character
        for character in unicodedata.normalize("NFC", text)
        if unicodedata.category(character) != "Cf" or character in _MEANINGFUL_JOINERS
    )
    return "".join(shown).strip()


def near_duplicates(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two different names that a person would take for one: they differ in
    case, in the number of blanks, in leading zeros, in look-alike forms or in invisible
    characters.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_likeness(name), name)
        if other != name:
            return other, name
    return None


def _likeness(name: str) -> str:
    visible = (
        character
        for character in unicodedata.normalize("NFKC", name)
        if unicodedata.category(character) != "Cf"
    )
    text = " ".join("".join(visible).casefold().split())
    return text.lstrip("0") or "0" if text.isdecimal() else text
