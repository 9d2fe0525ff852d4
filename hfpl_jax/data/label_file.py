"""Image labels of one's own photographs, from CSV or JSON.

CSV, with or without a first line that names the classes in their order (otherwise they
are the labels that occur, sorted):

    # classes: cat, dog, traffic light
    file_name,labels,split
    street/1.jpg,cat;traffic light,train
    2.jpg,dog cat,val

Labels are separated by semicolons, or by spaces where there is no semicolon and the
whole is not the name of a class. `split` may be missing.

JSON: {"classes": ["cat", "dog"], "images": [{"file_name": "2.jpg", "labels": ["dog",
"cat"], "split": "val"}]}.
"""

import csv
import dataclasses
import difflib
import io
import itertools
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hfpl_jax.data.builder import check_relative
from hfpl_jax.data.name_checks import is_one_line
from hfpl_jax.errors import InputError

_CLASSES_LINE = re.compile(r"#\s*classes\s*:(.*)", re.IGNORECASE)
_SPLIT = re.compile(r"(?!all$)(?=\w{1,64}$)\w*[^\W_]\w*", re.ASCII)
"""Part of a file's name; "all" means every split to TFDS."""
_MOST_SPLITS, _MOST_CLASSES, _LONGEST_CLASS_NAME = 16, 254, 200


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line: the photograph's name, split and zero-based labels, or the error that
    makes it a bad record.
    """

    where: str
    file_name: str = ""
    split: str = "train"
    labels: tuple[int, ...] = ()
    error: InputError | None = None


@dataclasses.dataclass(frozen=True)
class LabelFile:
    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]


@dataclasses.dataclass(frozen=True)
class _Line:
    where: str
    file_name: Any = ""
    labels: Any = ()
    split: Any = "train"
    problem: str = ""


def read_label_file(path: pathlib.Path) -> LabelFile:
    """Reads the labels of a folder.

    Raises:
      InputError: the file is missing, not UTF-8, has no header, unusable class names or
        dozens of splits. A bad line is not raised but becomes an entry with an error,
        so that it can be skipped like any other bad record.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"Cannot read the label file {path} ({error.strerror}). Write one (columns "
            "file_name,labels), "
            "or correct config.data.options.labels."
        ) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line} is not UTF-8 ({error.reason}). Save the file as UTF-8."
        ) from error
    declared, lines = (
        _parse_json(path, text) if path.suffix.lower() == ".json" else _parse_csv(path, text)
    )
    if declared is None:
        declared = sorted({label for line in lines if not line.problem for label in line.labels})
    class_names = _check_class_names(path, declared)
    entries = tuple(_entry(line, class_names) for line in lines)
    splits = {entry.split for entry in entries}
    if len(splits) > _MOST_SPLITS:
        raise InputError(
            f"{path} names {len(splits)} splits, more than {_MOST_SPLITS}. Write train or val, or "
            "remove the split column."
        )
    return LabelFile(class_names, entries)


def _parse_csv(path: pathlib.Path, text: str) -> tuple[list[str] | None, list[_Line]]:
    declared, numbered = None, enumerate(io.StringIO(text), start=1)
    for number, line in numbered:
        if not line.startswith("#"):
            numbered = itertools.chain([(number, line)], numbered)
            break
        if match := _CLASSES_LINE.match(line):
            if declared is not None:
                raise InputError(
                    f"{path}, line {number} names the classes a second time. Keep one '# classes:' "
                    "line."
                )
            declared = [name.strip() for name in match[1].split(",")]
    rows = _rows(numbered)
    header_at, header = next(rows, (text.count("\n") + 1, []))
    columns = [name.strip() for name in header] if isinstance(header, list) else []
    if sorted(columns) not in (["file_name", "labels"], ["file_name", "labels", "split"]):
        raise InputError(
            f"{path}, line {header_at}: the header is {','.join(columns)!r}. Write "
            "file_name,labels or file_name,labels,split."
        )
    lines = []
    for number, row in rows:
        where = f"{path}, line {number}"
        if isinstance(row, str):
            lines.append(
                _Line(where, problem=f"cannot be read as CSV ({row}). Check its quotes and commas")
            )
        elif len(row) != len(columns):
            lines.append(
                _Line(
                    where,
                    problem=f"has {len(row)} fields, but the header has {len(columns)} "
                    f"({','.join(columns)}). "
                    "Separate labels by spaces or semicolons, and quote a name that holds a comma",
                )
            )
        else:
            cells = {name: cell.strip() for name, cell in zip(columns, row, strict=True)}
            lines.append(
                _Line(
                    where,
                    cells["file_name"],
                    _split_labels(cells["labels"], declared),
                    cells.get("split", "train"),
                )
            )
    return declared, lines


def _rows(numbered: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str] | str]]:
    """Line number and cells of every line that is not blank, or the reason why it
    cannot be read."""
    for number, line in numbered:
        if line.strip():
            try:
                yield number, next(csv.reader([line], strict=True))
            except csv.Error as error:
                yield number, str(error)


def _split_labels(text: str, declared: Sequence[str] | None) -> list[str]:
    if ";" in text:
        return [label.strip() for label in text.split(";") if label.strip()]
    return [text] if declared and text in declared else text.split()


def _parse_json(path: pathlib.Path, text: str) -> tuple[list[str], list[_Line]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}). Correct it at that place.") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(field), list) for field in ("classes", "images")
    ):
        raise InputError(f'{path} must be an object with the lists "classes" and "images".')
    lines = []
    for index, image in enumerate(content["images"]):
        where = f"{path}, images[{index}]"
        if (
            isinstance(image, dict)
            and isinstance(image.get("labels"), list)
            and "file_name" in image
        ):
            lines.append(
                _Line(where, image["file_name"], image["labels"], image.get("split", "train"))
            )
        else:
            lines.append(
                _Line(where, problem='must be an object with "file_name" and a list "labels"')
            )
    return content["classes"], lines


def _check_class_names(path: pathlib.Path, names: Sequence[Any]) -> tuple[str, ...]:
    if not names:
        raise InputError(f"{path} names no class. Add a list of classes, or labels.")
    if len(names) > _MOST_CLASSES:
        raise InputError(
            f"{path} names {len(names)} classes; an 8-bit mask with background and ignore (255) "
            f"holds {_MOST_CLASSES} at most. Remove some."
        )
    for index, name in enumerate(names):
        usable = (
            isinstance(name, str)
            and 0 < len(name) <= _LONGEST_CLASS_NAME
            and name == name.strip()
            and is_one_line(name)
        )
        if not usable:
            raise InputError(
                f"{path}: class number {index + 1} is {_short(name)}. Correct it: a class name is "
                f"a text of at most {_LONGEST_CLASS_NAME} "
                "characters on one line, without blanks around it."
            )
        if name in names[:index]:
            raise InputError(
                f"{path} names the class {name!r} twice. Remove one: every class has one label."
            )
        if name.lower() == "background":
            raise InputError(
                f"{path} names a class {name!r}. Remove it: background is implied, and is 0 in "
                "masks."
            )
    return tuple(names)


def _entry(line: _Line, class_names: Sequence[str]) -> Entry:
    file_name = line.file_name if isinstance(line.file_name, str) else ""
    split = line.split if isinstance(line.split, str) and _SPLIT.fullmatch(line.split) else "train"
    try:
        _check_line(line, class_names)
    except InputError as error:
        return Entry(line.where, file_name, split, error=error)
    return Entry(
        line.where, file_name, split, tuple(class_names.index(label) for label in line.labels)
    )


def _check_line(line: _Line, class_names: Sequence[str]) -> None:
    """Raises InputError if a line cannot be used."""
    if line.problem:
        raise InputError(f"{line.where} {line.problem}.")
    if not isinstance(line.file_name, str):
        raise InputError(
            f"{line.where} has the file_name {_short(line.file_name)}. Give the photograph's name, "
            "relative to the folder."
        )
    check_relative(line.file_name, line.where)
    if not isinstance(line.split, str) or not _SPLIT.fullmatch(line.split):
        raise InputError(
            f"{line.where} has the split {_short(line.split)}. Write train or val, or remove the "
            "column."
        )
    if not line.labels:
        raise InputError(
            f"{line.where} gives {line.file_name} no labels. Name at least one class that is "
            "visible, or remove the line."
        )
    for label in line.labels:
        if label not in class_names:
            close = difflib.get_close_matches(str(label)[:_LONGEST_CLASS_NAME], class_names, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise InputError(
                f"{line.where} gives {line.file_name} the label {_short(label)}, which is none of "
                "the classes "
                f"{', '.join(class_names)}{hint}. Correct the label or the list of classes."
            )


def _short(value: Any) -> str:
    """What a message shows of a value that may be of any type and length."""
    text = repr(value)
    return text if len(text) <= _LONGEST_CLASS_NAME else f"{text[:_LONGEST_CLASS_NAME]}..."
