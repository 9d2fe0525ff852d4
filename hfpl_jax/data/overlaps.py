"""Which photographs a prepared dataset has in two splits: under one name, or the same
file under two names.
"""

import hashlib
import itertools
import json
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from hfpl_jax.data.example import Example
from hfpl_jax.errors import InputError

_LOG = logging.getLogger(__name__)

OVERLAPS_FILE = "overlaps.json"


class Overlaps:
    """Gathers names and contents while splits are written."""

    def __init__(self):
        self._names: dict[str, dict[str, bytes]] = {}

    def add(self, split: str, example: Example) -> None:
        digest = hashlib.blake2b(example.image, digest_size=16).digest()
        self._names.setdefault(split, {})[example.file_name] = digest

    def write(self, folder: str | os.PathLike) -> None:
        """Writes, for every two splits that share photographs, how many have one name
        and how many another, and the first one's name in each.
        """
        found = []
        for first, second in itertools.combinations(self._names, 2):
            shared = _shared(self._names[first], self._names[second])
            if shared:
                renamed = sum(name != same for name, same in shared)
                found.append(
                    {
                        "splits": [first, second],
                        "same_name": len(shared) - renamed,
                        "other_name": renamed,
                        "first": list(shared[0]),
                    }
                )
        content = json.dumps(found, indent=2, ensure_ascii=True) + "\n"
        (pathlib.Path(folder) / OVERLAPS_FILE).write_text(content)


def _shared(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Names in one and in the other, those of one name first."""
    by_content = {digest: name for name, digest in other.items()}
    pairs = (
        (name, name if name in other else by_content.get(digest)) for name, digest in one.items()
    )
    shared = [(name, same) for name, same in pairs if same is not None]
    return sorted(shared, key=lambda pair: pair[0] != pair[1])


def check_overlap(config_data: Mapping[str, Any], folder: pathlib.Path, *, official: bool) -> None:
    """Refuses photographs that are trained on, or labelled, and scored as val as well.

    Args:
      config_data: the splits that are used, and `allow_overlap`.
      folder: of the prepared dataset.
      official: the splits are those of a published dataset, where a photograph that has
        another name in val is worth a warning only.

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
                what = (
                    f"Photographs of split {split} in {folder} are in split {val} as well "
                    f"({pair['same_name'] + pair['other_name']}, beginning with "
                    f"{names[split]}{same})"
                )
                if pair["same_name"] or not official:
                    raise _error(what, val)
                _LOG.warning("%s.", what)


def _error(what: str, val: str) -> InputError:
    return InputError(
        f"{what}, so the figures of {val} would be of photographs that the run has learnt from. "
        "Remove them from one of the two, or set config.data.allow_overlap = True."
    )
