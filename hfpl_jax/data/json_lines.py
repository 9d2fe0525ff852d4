"""A file of JSON objects, a line each, that grows while a dataset is prepared: which
records were left out, which masks disagree.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any


def append_line(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Half a surrogate pair, which JSON may hold and UTF-8 may not, is written as
    JSON's \\ud800.
    """
    with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(json.dumps(content, ensure_ascii=False) + "\n")


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """What was appended; [] where nothing was.

    Raises:
      ValueError, RecursionError: the file is damaged.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]
