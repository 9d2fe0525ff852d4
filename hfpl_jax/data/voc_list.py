"""Reads a list of ImageSets/Segmentation: a photograph a line.

A line is a name with or without extension, or as other programs hand such lists on, the
paths of a photograph and its mask: /JPEGImages/a.jpg /SegmentationClassAug/a.png.
"""

import dataclasses
import os
import pathlib
import re

from hfpl_jax.data.name_checks import is_inside
from hfpl_jax.errors import InputError

PHOTOGRAPHS, MASKS = "JPEGImages", ("SegmentationClass", "SegmentationClassAug")

_EXTENSIONS = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)
_PAIR = re.compile(r"(?P<photograph>\S.*\.(?:jpe?g|png))\s+(?P<mask>\S.*\.png)", re.IGNORECASE)
_OF_MAIN = re.compile(r"(?P<name>\S.*?)\s+(?:-1|0|1)")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclasses.dataclass(frozen=True)
class Listed:
    """One photograph of a list.

    Attributes:
      file_name: in JPEGImages, with extension.
      mask: path relative to the VOC folder, where the list names it.
      error: what makes the line a bad record.
    """

    file_name: str
    mask: str = ""
    error: InputError | None = None

    @property
    def stem(self) -> str:
        """What the photograph's annotation and mask are called after."""
        return _EXTENSIONS.sub("", self.file_name)


def read_list(text: bytes, path: pathlib.Path, layout: pathlib.Path) -> list[Listed]:
    """The photographs of a list, found in the folder JPEGImages of `layout`.

    Raises:
      InputError: it is a list of ImageSets/Main, or in UTF-16.
    """
    if text.startswith(_UTF_16):
        raise InputError(f"{path} is in UTF-16. Save it as UTF-8.")
    names: dict[str, list[str]] = {}
    for entry in sorted(os.listdir(layout / PHOTOGRAPHS)):
        names.setdefault(_EXTENSIONS.sub("", entry), []).append(entry)
    listed = []
    lines = text.decode("utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line:
            of_main = _OF_MAIN.fullmatch(line)
            if of_main and not _found(line, names) and _found(of_main["name"], names):
                raise InputError(
                    f"{path}, line {number}, {line!r}, is one of a list of ImageSets/Main, which "
                    "says of one class whether it is there (1 or -1), not what a split holds. Put "
                    "a list of ImageSets/Segmentation there, with a name a line."
                )
            listed.append(_listed(line, f"{path}, line {number}", names))
    return listed


def _listed(line: str, where: str, names: dict[str, list[str]]) -> Listed:
    pair = None if _found(line, names) else _PAIR.fullmatch(line)
    photograph, mask = (pair["photograph"], pair["mask"]) if pair else (line, "")
    name = _behind(photograph, (PHOTOGRAPHS,)) or photograph
    found = _found(name, names)
    if len(found) > 1:
        error = InputError(
            f"{where}: {name!r} may be {' or '.join(found)} in {PHOTOGRAPHS}. Give the extension, "
            "or remove one of them."
        )
        return Listed(found[0], error=error)
    if not found:
        found = [name if _EXTENSIONS.search(name) else f"{name}.jpg"]
    inside = _behind(mask, MASKS)
    if mask and not is_inside(inside):
        error = InputError(
            f"{where} names the mask {mask[:100]!r}. Give one in {' or '.join(MASKS)}, or the name "
            "of the photograph alone."
        )
        return Listed(found[0], error=error)
    return Listed(found[0], f"{_folder(mask)}/{inside}" if mask else "")


def _found(name: str, names: dict[str, list[str]]) -> list[str]:
    """Files that a name, with or without its extension, may stand for."""
    stem = _EXTENSIONS.sub("", name)
    exact = [file for file in names.get(stem, ()) if file == name]
    return exact or names.get(name) or names.get(stem) or []


def _behind(path: str, folders: tuple[str, ...]) -> str:
    """What follows the last of these folders in a path; "" if none of them is in it."""
    parts = path.split("/")
    places = [index for index, part in enumerate(parts) if part in folders]
    return "/".join(parts[places[-1] + 1 :]) if places else ""


def _folder(mask: str) -> str:
    return [part for part in mask.split("/") if part in MASKS][-1]
