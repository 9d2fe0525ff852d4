"""Image labels from where photographs lie, a folder a class:

    cat/1.jpg            or, all of them,   train/cat/1.jpg
    traffic light/2.jpg                     val/traffic light/2.jpg

A folder called background has photographs that show none of the classes.
"""

import collections
import hashlib
import logging
import pathlib
from collections.abc import Sequence

from hfpl_jax.data.label_entry import LabelFile
from hfpl_jax.data.label_file import label_file_of
from hfpl_jax.data.label_readings import in_order, says_nothing
from hfpl_jax.data.label_rows import Row
from hfpl_jax.data.name_checks import BACKGROUND, clean_name, is_background
from hfpl_jax.data.photograph_files import SUFFIXES, files_below
from hfpl_jax.errors import InputError

_LOG = logging.getLogger(__name__)

FOLDERS = "folders"
"""The option that asks for it, in place of a label file."""
_SPLITS = ("train", "val", "valid", "validation", "test")
_OR_A_FILE = "or write a label file (columns file_name,labels)"


def read_label_folders(root: pathlib.Path, without: pathlib.Path | None = None) -> LabelFile:
    """The classes are the names of the folders, in the alphabet's order or, if all are
    numbers, in theirs.

    Args:
      root: the folder of all. Hidden files and folders are not looked at.
      without: a folder in it that has masks.

    Raises:
      InputError: no photograph; one that does not lie in the folder of a class, or in
        those of two; folders that can be read in two ways.
    """
    names, others = [], []
    for path in files_below(root):
        if without is None or not path.is_relative_to(without):
            kind = names if path.suffix.lower() in SUFFIXES else others
            kind.append(path.relative_to(root).as_posix())
    if not names:
        raise InputError(
            f"There is no photograph in {root}: no file that ends in {', '.join(SUFFIXES)}. "
            "Correct config.data.root."
        )
    if others:
        _LOG.info("%d other files are left out, such as %s.", len(others), others[0])
    with_splits = _with_splits(root, names)
    rows = [_row(root, name, with_splits) for name in names]
    for label, where in {row.labels[0]: row.where for row in reversed(rows)}.items():
        if says_nothing(label):
            raise InputError(
                f"{where} lies in a folder {label!r}: a class of this name, or none of the "
                f"classes? Call it {BACKGROUND} for the second, {_OR_A_FILE}."
            )
    _check_one_class_each(root, rows)
    classes = {row.labels[0] for row in rows if not is_background(row.labels[0])}
    return label_file_of(root, rows, in_order(classes), declared=False)


def _with_splits(root: pathlib.Path, names: Sequence[str]) -> bool:
    """Whether folders of splits lie above those of the classes."""
    parts = [name.split("/") for name in names]
    depths = collections.Counter(map(len, parts))
    usual = max(depths, key=lambda depth: depths[depth])
    for name, of_name in zip(names, parts, strict=True):
        if len(of_name) != usual or usual not in (2, 3):
            raise InputError(
                f"{root / name} lies in no folder of a class, or deeper than one. Photographs lie "
                "in CLASS/ or, all of them, in train/CLASS/ and val/CLASS/: move it, "
                f"{_OR_A_FILE}."
            )
    tops = sorted({of_name[0] for of_name in parts})
    named = [top for top in tops if top.casefold() in _SPLITS]
    if usual == 3 and len(named) < len(tops):
        raise InputError(
            f"{root} has folders in the folder {next(top for top in tops if top not in named)!r}, "
            f"whose name is that of no split ({', '.join(_SPLITS)}). Photographs lie in CLASS/ "
            f"or, all of them, in train/CLASS/ and val/CLASS/: rename it, {_OR_A_FILE}."
        )
    if usual == 2 and len(named) == len(tops):
        raise InputError(
            f"{root} has the folders {', '.join(tops)}, which can be read as splits or as classes. "
            f"Move the photographs of each split into folders of their classes, {_OR_A_FILE}."
        )
    return usual == 3


def _row(root: pathlib.Path, name: str, with_splits: bool) -> Row:
    *above, label, _ = name.split("/")
    split = above[0] if with_splits else "train"
    return Row(str(root / name), name, [clean_name(label)], split)


def _check_one_class_each(root: pathlib.Path, rows: Sequence[Row]) -> None:
    """Raises InputError if one photograph lies in the folders of two classes. Files are
    read where their sizes are the same.
    """
    by_size = collections.defaultdict(list)
    for row in rows:
        by_size[row.split, (root / row.file_name).stat().st_size].append(row)
    for alike in by_size.values():
        if len({row.labels[0] for row in alike}) < 2:
            continue
        seen: dict[bytes, Row] = {}
        for row in alike:
            content = hashlib.sha256((root / row.file_name).read_bytes()).digest()
            other = seen.setdefault(content, row)
            if other.labels != row.labels:
                raise InputError(
                    f"{other.where} and {row.where} are the same photograph. One that shows "
                    "several classes needs a label file: columns file_name,labels, with a row "
                    f"such as {row.file_name},{other.labels[0]};{row.labels[0]}."
                )
