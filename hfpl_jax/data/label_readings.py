"""The classes of a label file that does not declare them, where its labels can be read
in one way only; where there are two, the user is asked.
"""

import collections
import pathlib
import re
from collections.abc import Collection, Sequence

from hfpl_jax.data.label_rows import Row
from hfpl_jax.data.name_checks import is_background
from hfpl_jax.errors import InputError

_NOTHING = frozenset(
    ("none", "nothing", "null", "nan", "nil", "n/a", "na", "-", "empty", "no label", "no labels")
)
_LIST = re.compile(r"[,|，、；]")
_BRACKETS = re.compile(r"[\[({](.*)[\])}]", re.DOTALL)
_POSSIBLE = tuple(re.compile(text) for text in (r"\s*[/+&:_-]\s*", r"\s+and\s+", r"\s+"))
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_LONGEST_SHOWN, _LONGEST_LABEL = 60, 1000


def says_nothing(label: object) -> bool:
    """Whether a label is one of the words that people and programs write for none."""
    return isinstance(label, str) and label.casefold() in _NOTHING


def all_numbers(names: Collection[str]) -> bool:
    return all(_NUMBER.fullmatch(name) for name in names)


def occurring_classes(path: pathlib.Path, rows: Sequence[Row]) -> list[str]:
    """The labels that occur in rows from CSV, numbers in their order and others in the
    alphabet's.

    Raises:
      InputError: a label may be one class or a list of several.
    """
    first = {}
    for row in rows:
        for label in row.labels:
            if not is_background(label) and not says_nothing(label):
                first.setdefault(label, row.where)
    shuffled = _shuffled(first)
    for label, where in first.items():
        parts = parts_of(label, first) or (label.split() if label in shuffled else [])
        if parts:
            shown = [part[:_LONGEST_SHOWN] for part in parts[:8]]
            raise InputError(
                f"{where}: {label[:_LONGEST_SHOWN]!r} can be read as one class of this name or as "
                f"the classes {', '.join(map(repr, shown))}. For several, write "
                f"{';'.join(shown)!r} (a semicolon alone separates labels); for one, put a first "
                "line with all classes into the file, "
                f"'# classes: {_quoted(label[:_LONGEST_SHOWN])}; ...'."
            )
    return in_order(first)


def in_order(names: Collection[str]) -> list[str]:
    """Numbers in their order, others in the alphabet's."""
    return sorted(names, key=int) if names and all_numbers(names) else sorted(names)


def _quoted(name: str) -> str:
    return f'"{name}"' if ";" in name or name.startswith('"') else name


def parts_of(label: str, known: Collection[str]) -> list[str]:
    """The labels that `label` may be a list of, [] where it can only be one.

    Commas, bars and brackets make a list whatever is in it; what else may separate does
    so where every part is in `known`.
    """
    if len(label) > _LONGEST_LABEL:
        return []  # which is refused as the name of a class
    inner = _BRACKETS.fullmatch(label)
    text = inner[1] if inner else label
    if inner or _LIST.search(text):
        parts = [part.strip(" '\"") for part in _LIST.split(text)]
        return [part for part in parts if part]
    for separator in _POSSIBLE:
        parts = separator.split(text)
        if len(parts) > 1 and all(part in known for part in parts):
            return parts
    return []


def _shuffled(labels: Collection[str]) -> set[str]:
    """Labels of several words that look like lists: "cat dog", "dog bird", "bird cat".

    All their words occur in other labels too, and one of them is the first word of one
    label and the last of another, as is rare in names such as "red car" and "blue car".
    """
    words = {label: label.split() for label in labels}
    words = {label: of_label for label, of_label in words.items() if len(of_label) > 1}
    uses = collections.Counter(word for of_label in words.values() for word in set(of_label))
    both = {of_label[0] for of_label in words.values()} & {
        of_label[-1] for of_label in words.values()
    }
    return {
        label
        for label, of_label in words.items()
        if all(uses[word] > 1 or word in labels for word in of_label) and both & set(of_label)
    }


def check_numbers_fit_masks(path: pathlib.Path, class_names: Sequence[str]) -> None:
    """Raises InputError if classes are numbers that nobody declared and a mask's value
    would mean another number.
    """
    if all_numbers(class_names) and any(
        int(name) != value for value, name in enumerate(class_names, start=1)
    ):
        shown = ", ".join(class_names[:8]) + (", ..." if len(class_names) > 8 else "")
        raise InputError(
            f"{path}: the labels are the numbers {shown}, and config.data.options.masks is set. "
            f"As classes in this order, the first, {class_names[0]!r}, would have the value 1 in "
            "masks, the next 2, and so on. Write a first line '# classes: ...' with the classes "
            "in the order of their values 1, 2, ... in the masks, or number labels and masks "
            "alike from 1 without gaps."
        )
