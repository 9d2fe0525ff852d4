"""What a prepared dataset was made of: the file that is written last and removed first,
and so says that the dataset is whole.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from hfpl_jax.runtime import atomic

FILE_NAME = "made_of.json"

_KINDS = ("photographs", "masks")


def write_made_of(
    directory: str | os.PathLike, source: str, splits: Mapping[str, Mapping[str, str]]
) -> None:
    """`source` is the fingerprint of the source and its options; `splits` holds the
    hashes of each split, see `SplitDigest`.
    """
    content = {"source": source, "splits": {name: dict(of) for name, of in splits.items()}}
    atomic.atomic_write(pathlib.Path(directory) / FILE_NAME, json.dumps(content, indent=2) + "\n")


def read_made_of(directory: str | os.PathLike) -> dict[str, Any]:
    """What was written; no source and no splits where the file is missing or
    damaged.
    """
    try:
        content = json.loads((pathlib.Path(directory) / FILE_NAME).read_bytes())
        whole = isinstance(content["source"], str) and all(
            isinstance(of[kind], str) for of in content["splits"].values() for kind in _KINDS
        )
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        whole = False
    return content if whole else {"source": "", "splits": {}}
