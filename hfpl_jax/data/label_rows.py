"""The rows of a label file, from CSV or JSON; `label_file` says what they mean."""

import csv
import dataclasses
import itertools
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hfpl_jax.data.name_checks import clean_name
from hfpl_jax.errors import InputError

_CLASSES_LINE = re.compile(r"#\s*classes\s*:(.*)", re.IGNORECASE)
_HEADERS = (["file_name", "labels"], ["file_name", "labels", "split"])
_MARKS = {"0", "1", "", "x", "0.0", "1.0", "true", "false", "yes", "no", "-1"}
_NO_MARKS = {"0", "", "0.0", "false", "no", "-1"}
_LONGEST_SHOWN = 200


@dataclasses.dataclass(frozen=True)
class Row:
    """What stands in one row; `problem` says why it cannot be read, and then the rest
    is empty. From JSON, the fields may be of any type.
    """

    where: str
    file_name: Any = ""
    labels: Sequence[Any] = ()
    split: Any = "train"
    problem: str = ""


def parse_csv(path: pathlib.Path, text: str) -> tuple[list[str] | None, list[Row]]:
    """The classes of the line '# classes:', None without one, and the rows.

    The header says whether commas, semicolons or tabs separate the columns. Rows
    without content are left out, and so are columns without a name and content.

    Raises:
      InputError: there is no header, or there are two lines of classes.
    """
    lines = list(enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1))
    comments = list(itertools.takewhile(lambda line: _is_comment(line[1]), lines))
    rest = [(number, line) for number, line in lines[len(comments) :] if line.strip()]
    header_at, header = rest[0] if rest else (len(lines), "")
    columns, delimiter = _columns(path, header_at, header, rest[1:])
    declared = _declared(path, comments, delimiter)
    rows = []
    for number, cells in _cells(rest[1:], delimiter):
        where = f"{path}, line {number}"
        if isinstance(cells, str):
            problem = f"cannot be read as CSV ({cells}). Check its quotes and commas"
            rows.append(Row(where, problem=problem))
            continue
        while len(cells) > len(columns) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(columns):
            quoted = ", in quotes" if delimiter == ";" else ""
            problem = (
                f"has {len(cells)} fields, but the header has {len(columns)} "
                f"({delimiter.join(columns)}). Write the labels of a photograph into one cell, "
                f"separated by semicolons{quoted}, and quote a name that holds a comma"
            )
            rows.append(Row(where, problem=problem))
            continue
        row = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
        labels = [clean_name(part) for part in clean_name(row["labels"]).split(";")]
        split = clean_name(row.get("split", "train"))
        rows.append(Row(where, row["file_name"], [label for label in labels if label], split))
    return declared, rows


def _is_comment(line: str) -> bool:
    return not line.strip() or line.startswith(("#", '"#'))


def _columns(
    path: pathlib.Path, number: int, header: str, rest: Sequence[tuple[int, str]]
) -> tuple[list[str], str]:
    """Names of the columns and what separates them."""
    for delimiter in (",", ";", "\t"):
        [(_, cells)] = _cells([(number, header)], delimiter) or [(number, [])]
        names = [clean_name(name).casefold() for name in cells] if isinstance(cells, list) else []
        while names and not names[-1]:
            names.pop()
        if sorted(names) in _HEADERS:
            return names, delimiter
        if example := _one_hot(names, cells, _cells(rest, delimiter)):
            raise InputError(
                f"{path}, line {number}: the header is {header.strip()[:_LONGEST_SHOWN]!r}, with a "
                "column for each class. Write all labels of a photograph into one cell, separated "
                f"by semicolons: the header file_name,labels and rows such as {example}."
            )
    raise InputError(
        f"{path}, line {number}: the header is {header.strip()[:_LONGEST_SHOWN]!r}. Write "
        "file_name,labels or file_name,labels,split into the first line, and remove other columns."
    )


def _one_hot(
    names: Sequence[str], header: list[str] | str, rows: list[tuple[int, list[str] | str]]
) -> str:
    """Where columns are classes, the row of most labels as it should be, else ""."""
    classes = [column for column, name in enumerate(names) if name not in _HEADERS[1]]
    if "file_name" not in names or "labels" in names or not classes:
        return ""
    best, most = "", 0
    for _, cells in rows:
        if isinstance(cells, str) or len(cells) < len(names):
            return ""
        marks = {column: clean_name(cells[column]).casefold() for column in classes}
        if not set(marks.values()) <= _MARKS:
            return ""
        labels = [
            clean_name(header[column]) for column in classes if marks[column] not in _NO_MARKS
        ]
        if len(labels) > most:
            best, most = f"{cells[names.index('file_name')]},{';'.join(labels)}", len(labels)
    return best[:_LONGEST_SHOWN]


def _declared(
    path: pathlib.Path, comments: Sequence[tuple[int, str]], delimiter: str
) -> list[str] | None:
    """Names in the line '# classes:', separated by semicolons or, where there is none,
    by commas. A spreadsheet puts quotes around the line, and empty cells behind it.
    """
    declared = None
    for number, line in comments:
        if line.startswith('"'):
            [(_, cells)] = _cells([(number, line)], delimiter)
            line = delimiter.join(cells) if isinstance(cells, list) else line
        if match := _CLASSES_LINE.match(line.strip().rstrip(delimiter + " ")):
            if declared is not None:
                raise InputError(
                    f"{path}, line {number} names the classes a second time. Keep one '# classes:' "
                    "line."
                )
            declared = _class_list(path, number, match[1])
    return declared


def _class_list(path: pathlib.Path, number: int, text: str) -> list[str]:
    separator = ";" if ";" in text else ","
    try:
        names = next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])
    except csv.Error as error:
        raise InputError(
            f"{path}, line {number}: the classes cannot be read ({error}). Write them as "
            "'# classes: cat; dog'."
        ) from error
    names = [clean_name(name) for name in names]
    while names and not names[-1]:
        names.pop()
    return names


def _cells(
    numbered: Sequence[tuple[int, str]], delimiter: str
) -> list[tuple[int, list[str] | str]]:
    """Number and cells of every line that has any content, or the reason why it cannot
    be read."""
    return list(_read_cells(numbered, delimiter))


def _read_cells(
    numbered: Sequence[tuple[int, str]], delimiter: str
) -> Iterator[tuple[int, list[str] | str]]:
    for number, line in numbered:
        try:
            cells = next(csv.reader([line], delimiter=delimiter, strict=True))
        except (csv.Error, StopIteration) as error:
            yield number, str(error)
            continue
        if any(cell.strip() for cell in cells):
            yield number, cells


def parse_json(path: pathlib.Path, text: str) -> tuple[list[Any], list[Row]]:
    """The classes and the images of a JSON file, as `parse_csv` gives them.

    Raises:
      InputError: it is no JSON, or has not the two lists.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}). Correct it at that place.") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(field), list) for field in ("classes", "images")
    ):
        raise InputError(f'{path} must be an object with the lists "classes" and "images".')
    rows = []
    for index, image in enumerate(content["images"]):
        where = f"{path}, images[{index}]"
        if (
            isinstance(image, dict)
            and isinstance(image.get("labels"), list)
            and "file_name" in image
        ):
            labels = [_cleaned(label) for label in image["labels"]]
            rows.append(Row(where, image["file_name"], labels, image.get("split", "train")))
        else:
            problem = 'must be an object with "file_name" and a list "labels"'
            rows.append(Row(where, problem=problem))
    return [_cleaned(name) for name in content["classes"]], rows


def _cleaned(name: Any) -> Any:
    return clean_name(name) if isinstance(name, str) else name
