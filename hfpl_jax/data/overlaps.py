"""Which photographs a prepared dataset has in two splits: under one name, or the same
file under two names.
"""

import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from hfpl_jax.data.example import Example
from hfpl_jax.errors import InputError

OVERLAPS_FILE = "overlaps.json"


class Overlaps:
    """Gathers names and contents while splits are written."""

    def __init__(self):
        self._names: dict[str, dict[str, bytes]] = {}

    def add(self, split: str, example: Example) -> None:
        digest = hashlib.blake2b(example.image, digest_size=16).digest()
        self._names.setdefault(split, {})[example.file_name] = digest

    def write(self, folder: str | os.PathLike) -> None:
        """Writes a line of JSON for every two splits that share photographs: how many,
        and the first one's name in each.
        """
        found = []
        for first, second in itertools.combinations(self._names, 2):
            shared = _shared(self._names[first], self._names[second])
            if shared:
                found.append(
                    {"splits": [first, second], "count": len(shared), "first": list(shared[0])}
                )
        content = json.dumps(found, indent=2, ensure_ascii=True) + "\n"
        (pathlib.Path(folder) / OVERLAPS_FILE).write_text(content)


def _shared(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[tuple[str, str]]:
    by_content = {digest: name for name, digest in other.items()}
    pairs = (
        (name, name if name in other else by_content.get(digest)) for name, digest in one.items()
    )
    return [(name, same) for name, same in pairs if same is not None]


def check_overlap(config_data: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Refuses photographs that are trained on, or labelled, and scored as val as well.

    Args:
      config_data: the splits that are used, and `allow_overlap`.
      folder: of the prepared dataset.

    Raises:
      InputError: there is such a photograph, and `allow_overlap` is not set.
    """
    val, path = config_data.get("val_split"), folder / OVERLAPS_FILE
    if config_data.get("allow_overlap") or not val:
        return
    found = json.loads(path.read_text()) if path.exists() else []
    for field in ("train_split", "label_split"):
        split = config_data.get(field)
        if split == val:
            raise _error(f"config.data.{field} and config.data.val_split are both {val!r}", val)
        for pair in found:
            if split in pair["splits"] and val in pair["splits"]:
                names = dict(zip(pair["splits"], pair["first"], strict=True))
                same = "" if names[split] == names[val] else f" (as {names[val]})"
                raise _error(
                    f"Photographs of split {split} in {folder} are in split {val} as well "
                    f"({pair['count']}, beginning with {names[split]}{same})",
                    val,
                )


def _error(what: str, val: str) -> InputError:
    return InputError(
        f"{what}, so the figures of {val} would be of photographs that were trained on. Remove "
        "them from one of the two, or set config.data.allow_overlap = True."
    )
