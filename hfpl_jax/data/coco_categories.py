"""The categories of a COCO file, COCO's own or any others, and what reading the rest of
the file shares with reading them.
"""

import json
import mmap
import pathlib
import re
from typing import Any

import numpy as np

from hfpl_jax.data.name_checks import (
    LONGEST_CLASS_NAME,
    MOST_CLASSES,
    clean_name,
    is_background,
    is_class_name,
    near_duplicates,
)
from hfpl_jax.data.photographs import read_bytes
from hfpl_jax.errors import InputError

_KEY, _MOST_BYTES = b'"categories"', 2**20
_DIGITS = re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII)


def read_class_names(path: pathlib.Path, why: str, cure: str) -> tuple[str, ...]:
    """Names of the categories in the order of their identifiers. Reads no more than
    them where that can be done: all of COCO's own file takes half a minute.
    """
    categories = _categories_alone(path)
    if categories is None:
        categories = list_of(parse(path, read_bytes(path, why, cure)), "categories", path)
    return tuple(names_by_id(categories, path).values())


def parse(path: pathlib.Path, text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text, object_hook=_compact)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a COCO instances file: it is no JSON ({error}). Download it again, or "
            "check the program that wrote it."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} is not a COCO instances file: it is a {type(content).__name__}. It must be an "
            "object with the lists 'images', 'annotations' and 'categories'."
        )
    return content


def _compact(parsed: dict[str, Any]) -> dict[str, Any]:
    """Keeps what is used of a JSON object, with polygons as arrays: half the memory of
    the plain lists.
    """
    if "image_id" in parsed:
        kept = {
            key: parsed[key]
            for key in ("id", "image_id", "category_id", "iscrowd")
            if key in parsed
        }
        segmentation = parsed.get("segmentation")
        if isinstance(segmentation, list):
            segmentation = [_as_array(polygon) for polygon in segmentation]
        return {**kept, "segmentation": segmentation}
    if "file_name" in parsed:
        return {key: parsed[key] for key in ("id", "file_name", "height", "width") if key in parsed}
    return parsed


def _as_array(polygon: Any) -> Any:
    try:
        return np.asarray(polygon, np.float64)
    except (ValueError, TypeError, OverflowError):
        return polygon  # drawing it will say what is wrong


def list_of(content: dict[str, Any], field: str, path: pathlib.Path) -> list:
    found = content.get(field)
    if not isinstance(found, list):
        fault = f"it has no {field!r}" if field not in content else f"its {field!r} is no list"
        raise InputError(
            f"{path} is not a COCO instances file: {fault}, and must have the lists 'images', "
            "'annotations' and 'categories'. Choose the file of instances, not of captions or of "
            "photographs alone."
        )
    return found


def _categories_alone(path: pathlib.Path) -> list | None:
    """The list 'categories', if its key stands in the file once and can be read
    there.
    """
    try:
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            place = text.find(_KEY)
            if place < 0 or text.find(_KEY, place + 1) >= 0:
                return None
            start = place + len(_KEY)
            behind = text[start : start + _MOST_BYTES].decode(errors="ignore")
        colon = re.match(r"\s*:\s*", behind)
        found = json.JSONDecoder().raw_decode(behind, colon.end())[0] if colon else None
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def names_by_id(categories: list, path: pathlib.Path) -> dict[int, str]:
    """Names by identifier, in the order of these."""
    where = f"The 'categories' of {path}"
    if not 0 < len(categories) <= MOST_CLASSES:
        raise InputError(
            f"{where} are {len(categories)}, but an 8-bit mask with background and ignore (255) "
            f"holds 1 to {MOST_CLASSES} classes. Remove or merge some."
            if categories
            else f"{where} are an empty list. Add the classes, each with 'id' and 'name'."
        )
    names: dict[int, str] = {}
    for index, category in enumerate(categories):
        number = as_integer(category.get("id")) if isinstance(category, dict) else None
        if number is None:
            raise InputError(
                f"{where}: number {index + 1} has no integer 'id'. Give each one of its own."
            )
        name = category.get("name")
        if not is_class_name(name):
            raise InputError(
                f"{where}: the one of id {number} has the 'name' {short(name)}. Correct it: a "
                f"class name is a text of at most {LONGEST_CLASS_NAME} characters on one line, "
                "without blanks around it."
            )
        if is_background(name):
            raise InputError(
                f"{where}: the one of id {number} is {name!r}. Remove it: background is implied, "
                "and is what no object covers."
            )
        name = clean_name(name)
        if number in names or name in names.values():
            raise InputError(
                f"{where}: id {number} or name {name!r} stands there twice. Give each category an "
                "id and a name of its own."
            )
        names[number] = name
    if alike := near_duplicates(names.values()):
        raise InputError(
            f"{where} name {alike[0]!r} and {alike[1]!r}, which look like one. Merge them, or give "
            "them names that differ by more."
        )
    return dict(sorted(names.items()))


def as_integer(value: Any) -> int | None:
    """An integer that is written as 7, 7.0 or "7"; None for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def short(value: Any) -> str:
    """What a message shows of a value that may be of any type and length."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
