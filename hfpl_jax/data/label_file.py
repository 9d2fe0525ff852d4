"""Image labels of one's own photographs, from CSV or JSON.

CSV, with or without a first line that names the classes in their order (otherwise they
are the labels that occur, in the order of the alphabet or, if all are, of numbers):

    # classes: cat; dog; traffic light
    file_name,labels,split
    street/1.jpg,cat;traffic light,train
    2.jpg,dog,val
    3.jpg,background,val

A semicolon alone separates labels: a blank, a comma or a bar belongs to the name. A
photograph may also have several rows, one a label. `background` alone says that it
shows none of the classes. `split` may be missing.

JSON: {"classes": ["cat", "dog"], "images": [{"file_name": "2.jpg", "labels": ["dog",
"cat"], "split": "val"}]}. A COCO file is one too (`label_coco`).

Names are compared in one Unicode normal form, without invisible characters. What can be
read in two ways is not guessed at but asked.
"""

import codecs
import dataclasses
import pathlib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from hfpl_jax.data.find_file import Finder, is_absent
from hfpl_jax.data.label_coco import is_coco, read_coco_labels
from hfpl_jax.data.label_entry import Entry, LabelFile
from hfpl_jax.data.label_readings import occurring_classes, parts_of, says_nothing
from hfpl_jax.data.label_rows import Row, parse_csv, parse_json
from hfpl_jax.data.name_checks import (
    BACKGROUND,
    LONGEST_CLASS_NAME,
    MOST_CLASSES,
    check_relative,
    is_background,
    is_class_name,
    near_duplicates,
)
from hfpl_jax.errors import InputError, did_you_mean, in_brackets

_SPLIT = re.compile(r"(?!all$)(?=\w{1,64}$)\w*[^\W_]\w*", re.ASCII)
"""Part of a file's name; "all" means every split to TFDS."""
_MOST_SPLITS = 16
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_label_file(path: pathlib.Path, unannotated: str = "") -> LabelFile:
    """Reads the labels of a folder.

    Args:
      path: CSV, JSON or, as JSON too, a COCO file.
      unannotated: see `read_coco_labels`.

    Raises:
      InputError: the file is missing, not UTF-8, has no header, unusable class names or
        dozens of splits, or can be read in two ways. A bad line is not raised but
        becomes an entry with an error, so that it can be skipped like any other bad
        record.
    """
    content = _read(path)
    is_json = path.suffix.lower() == ".json"
    if is_json and is_coco(content):
        return read_coco_labels(path, unannotated)
    if unannotated:
        raise InputError(
            f"config.data.options.unannotated = {unannotated!r} is of COCO files, but {path} is "
            "none. Leave it out."
        )
    text = _decoded(path, content)
    declared, rows = parse_json(path, text) if is_json else parse_csv(path, text)
    class_names = occurring_classes(path, rows) if declared is None else declared
    return label_file_of(path, rows, class_names, declared=declared is not None)


def label_file_of(
    path: pathlib.Path, rows: Sequence[Row], class_names: Sequence[Any], *, declared: bool
) -> LabelFile:
    """What rows from `path` say of these classes. Raises InputError as `read_label_file`
    does.
    """
    checked = _check_class_names(path, class_names)
    entries = _by_photograph([_entry(row, checked) for row in rows])
    _check_split_names(path, {entry.split: None for entry in entries})
    return LabelFile(checked, entries, declared)


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = Finder(path.parent).hint(path.name) if is_absent(path) else ""
        raise InputError(
            f"Cannot read the label file {path} ({error.strerror}){hint}. Write one (columns "
            "file_name,labels), or correct config.data.options.labels: 'folders' takes the folder "
            "of each photograph for its class."
        ) from error


def _decoded(path: pathlib.Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        reason = "it is UTF-16" if content.startswith(_UTF16) else error.reason
        raise InputError(
            f"{path}, line {line} is not UTF-8 ({reason}). Save the file as UTF-8; spreadsheets "
            "call it 'CSV UTF-8'."
        ) from error


def _check_class_names(path: pathlib.Path, names: Sequence[Any]) -> tuple[str, ...]:
    if not names:
        raise InputError(f"{path} names no class. Add a list of classes, or labels.")
    if len(names) > MOST_CLASSES:
        raise InputError(
            f"{path} names {len(names)} classes; an 8-bit mask with background and ignore (255) "
            f"holds {MOST_CLASSES} at most. Remove some."
        )
    for index, name in enumerate(names):
        if not is_class_name(name):
            raise InputError(
                f"{path}: class number {index + 1} is {_short(name)}. Correct it: a class name is "
                f"a text of at most {LONGEST_CLASS_NAME} "
                "characters on one line, without blanks around it."
            )
        if name in names[:index]:
            raise InputError(
                f"{path} names the class {name!r} twice. Remove one: every class has one label."
            )
        if is_background(name):
            raise InputError(
                f"{path} names a class {name!r}. Remove it: background is implied, and is 0 in "
                "masks."
            )
    if alike := near_duplicates(names):
        raise InputError(
            f"{path} names the classes {alike[0]!r} and {alike[1]!r}, which look like one. Write "
            "the same name everywhere, or give them names that differ by more."
        )
    return tuple(names)


def _check_split_names(path: pathlib.Path, splits: dict[str, None]) -> None:
    if len(splits) > _MOST_SPLITS:
        raise InputError(
            f"{path} names {len(splits)} splits, more than {_MOST_SPLITS}. Write train or val, or "
            "remove the split column."
        )
    if alike := near_duplicates(splits):
        raise InputError(
            f"{path} names the splits {alike[0]!r} and {alike[1]!r}, which look like one. Write "
            "the same name everywhere."
        )


def _entry(row: Row, class_names: Sequence[str]) -> Entry:
    file_name = row.file_name if isinstance(row.file_name, str) else ""
    split = row.split if isinstance(row.split, str) and _SPLIT.fullmatch(row.split) else "train"
    try:
        _check_row(row, class_names)
    except InputError as error:
        return Entry(row.where, file_name, split, error=error)
    labels = {class_names.index(label) for label in row.labels if not is_background(label)}
    return Entry(row.where, file_name, split, tuple(sorted(labels)))


def _check_row(row: Row, class_names: Sequence[str]) -> None:
    """Raises InputError if a row cannot be used."""
    if row.problem:
        raise InputError(f"{row.where} {row.problem}.")
    if not isinstance(row.file_name, str):
        raise InputError(
            f"{row.where} has the file_name {_short(row.file_name)}. Give the photograph's name, "
            "relative to the folder."
        )
    check_relative(row.file_name, row.where)
    if not isinstance(row.split, str) or not _SPLIT.fullmatch(row.split):
        raise InputError(
            f"{row.where} has the split {_short(row.split)}. Write train or val, or remove the "
            "column."
        )
    if not row.labels:
        raise InputError(
            f"{row.where} gives {row.file_name} no labels. Name at least one class that is "
            f"visible, write {BACKGROUND} if none is, or remove the line."
        )
    if len(row.labels) > 1 and any(is_background(label) for label in row.labels):
        raise _beside_background(row.where, row.file_name)
    for label in row.labels:
        if label not in class_names and not is_background(label):
            raise InputError(
                f"{row.where} gives {row.file_name} the label {_short(label)}, "
                f"{_cure(label, class_names)}"
            )


def _beside_background(where: str, file_name: str) -> InputError:
    return InputError(
        f"{where} gives {file_name} the label {BACKGROUND} beside a class. Remove it: every "
        f"photograph has background, and {BACKGROUND} alone says that it shows no class."
    )


def _cure(label: Any, class_names: Sequence[str]) -> str:
    """How the sentence about an unknown label ends."""
    unknown = f"which is none of the classes {', '.join(class_names)}"
    if isinstance(label, str):
        if says_nothing(label):
            return (
                f"{unknown}. Write {BACKGROUND} if the photograph shows none of them, or declare "
                f"{label!r} as a class ('# classes: ...')."
            )
        parts = parts_of(label, class_names)
        if parts and all(part in class_names for part in parts):
            return (
                f"{unknown}. Write {';'.join(parts)!r} (in JSON, one text a label) if it is a list "
                "of several, or declare it as a class."
            )
    hint = in_brackets(did_you_mean(label, class_names))
    return f"{unknown}{hint}. Correct the label or the list of classes."


def _by_photograph(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """One entry a photograph and split, in the order of their first rows; a bad row
    makes its photograph bad.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        name = entry.file_name and _same_file(entry.file_name)
        groups.setdefault((name or entry.where, entry.split), []).append(entry)
    photographs: dict[str, Entry] = {}
    merged = []
    for (name, _), rows in groups.items():
        entry = _merged(rows)
        first = photographs.setdefault(name, entry)
        if not (first.error or entry.error) and first.labels != entry.labels:
            error = InputError(
                f"{entry.where} gives {entry.file_name} other labels in split {entry.split} than "
                f"{first.where} in split {first.split}. Remove one, or correct the labels."
            )
            entry = dataclasses.replace(entry, error=error)
        merged.append(entry)
    return tuple(merged)


def _same_file(file_name: str) -> str:
    return unicodedata.normalize("NFC", str(pathlib.PurePosixPath(file_name)))


def _merged(rows: Sequence[Entry]) -> Entry:
    seen: dict[tuple[int, ...], str] = {}
    for row in rows:
        if row.error:
            return row
        if row.labels in seen:
            error = InputError(
                f"{row.where} is the same as {seen[row.labels]}: {row.file_name} with the same "
                "labels. Remove one of the two."
            )
            return dataclasses.replace(row, error=error)
        seen[row.labels] = row.where
    if len(rows) > 1 and () in seen:
        error = _beside_background(seen[()], rows[0].file_name)
        return dataclasses.replace(rows[0], error=error)
    labels = sorted({label for row in rows for label in row.labels})
    return dataclasses.replace(rows[0], labels=tuple(labels))


def _short(value: Any) -> str:
    """What a message shows of a value that may be of any type and length."""
    text = repr(value)
    return text if len(text) <= LONGEST_CLASS_NAME else f"{text[:LONGEST_CLASS_NAME]}..."
