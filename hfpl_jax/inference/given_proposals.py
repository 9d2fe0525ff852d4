"""Proposals of one's own: a file of JSON, a line each, in COCO's run-length code.

    {"file_name": "2007_000032.jpg", "segmentation": {"size": [281, 500], "counts": "..."}}

A photograph may have any number of lines; the file may hold photographs that are in no
split.
"""

import collections
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hfpl_jax.data.coco_file import Object
from hfpl_jax.data.coco_paint import draw
from hfpl_jax.data.find_file import Finder
from hfpl_jax.errors import InputError
from hfpl_jax.inference.instances import ANY, Proposals
from hfpl_jax.inference.region_proposals import MOST
from hfpl_jax.instance import decode_rle

_WANTED = (
    'a line is {"file_name": "a.jpg", "segmentation": {"size": [height, width], "counts": "..."}}'
)


class _Line(NamedTuple):
    number: int
    segmentation: Mapping[str, Any]


class GivenProposals:
    """The proposals in a file, of every photograph by its name; of each the first
    `MOST`.

    Raises:
      InputError: the file is missing or no text; a line is no JSON, or has other fields.
    """

    def __init__(self, path: pathlib.Path, field: str):
        self._path, self._lines = path, collections.defaultdict[str, list[_Line]](list)
        for number, line in enumerate(_text(path, field).split("\n"), start=1):
            if line.strip():
                name, segmentation = self._parsed(number, line)
                self._lines[name].append(_Line(number, segmentation))

    def _parsed(self, number: int, line: str) -> tuple[str, Mapping[str, Any]]:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._wrong(number, f"is no JSON ({error})") from error
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(entry.get("segmentation"), dict):
            raise self._wrong(number, "has no file_name or no run-length code as segmentation")
        return name, entry["segmentation"]

    def _wrong(self, number: int, what: str) -> InputError:
        return InputError(f"{self._path}, line {number}, {what}: {_WANTED}. Correct the line.")

    def of(self, file_name: str, size: tuple[int, int]) -> Proposals:
        """Of a photograph of `size` (height, width); none where it has no line.

        Raises:
          InputError: a code that is none, or of another size.
        """
        regions = [
            decode_rle(instance.segmentation)
            for line in self._lines.get(file_name, ())[:MOST]
            for instance in draw(
                [Object(0, line.segmentation, False, "the proposal")],
                *size,
                where=f"{self._path}, line {line.number} ({file_name})",
            )
        ]
        stacked = np.stack(regions) if regions else np.zeros((0, *size), bool)
        return Proposals(stacked, np.full(len(regions), ANY))

    def check(self, sizes: Mapping[str, tuple[int, int]], splits: Sequence[str]) -> None:
        """That they are of these photographs, file name -> (height, width).

        Raises:
          InputError: no photograph has a proposal; see `of`.
        """
        known = [name for name in self._lines if name in sizes]
        if not known:
            found = next(iter(self._lines), None)
            raise InputError(
                f"{self._path} has proposals for no photograph of {' and '.join(splits)}: it has "
                f"{found!r}, where they are called {next(iter(sizes), None)!r}. Write the names "
                "as the dataset has them."
            )
        for name in known:
            self.of(name, sizes[name])


def _text(path: pathlib.Path, field: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{field} = '{path}' is no text in UTF-8 ({error}): {_WANTED}. Write it so."
        ) from error
    except OSError as error:
        hint = Finder(path.parent).hint(path.name)
        raise InputError(
            f"{field} = '{path}' cannot be read: {error.strerror}{hint}. Correct the path, or set "
            "it to 'own'."
        ) from error
