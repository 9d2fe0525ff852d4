"""Pseudo-labels as a dataset for the next network: TFRecord or ArrayRecord (TFDS), PNG, COCO JSON."""

import functools
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

from hfpl_jax.errors import InputError
from hfpl_jax.export import coco, png, tfds_directory
from hfpl_jax.export.pseudo_label import IGNORE, PseudoLabel, check_classes, check_name

__all__ = ["FORMATS", "PseudoLabel", "export"]

FORMATS = ("tfrecord", "array_record", "png", "coco")


def export(
    pseudo_labels: Iterable[PseudoLabel],
    directory: str | os.PathLike,
    *,
    format: str,
    class_names: Sequence[str],
    split: str,
    total: int,
) -> pathlib.Path:
    """Writes one split of pseudo-labels, whole or not at all; an earlier export of the same split and format is replaced.

    Several splits may share `directory`. `pseudo_labels` is consumed once, one at a time.

    Args:
      pseudo_labels: `total` of them, each photograph once.
      directory: made if missing.
      format: "tfrecord" or "array_record": `directory` loads with `tfds.builder_from_directory`; "png": `directory`/`split`/masks and
        more; "coco": `directory`/`split`.json.
      class_names: the C foreground classes, without background.
      split: name of the split, of letters, digits and underscores.
      total: number of pseudo-labels; decides the number of shards.

    Returns:
      What to open: `directory` for the record formats, else the split's folder or file.

    Raises:
      InputError: an unknown format, an unusable split or class name; a pseudo-label with other classes, unlike the others, or of a name
        that leads out of a folder; more or fewer of them than `total`; a folder that cannot be written.
    """
    directory = pathlib.Path(directory)
    writers = {
        "tfrecord": functools.partial(tfds_directory.write, total=total, file_format="tfrecord"),
        "array_record": functools.partial(tfds_directory.write, total=total, file_format="array_record"),
        "png": png.write,
        "coco": coco.write,
    }
    if format not in writers:
        raise InputError(f"The export format {format!r} is unknown. Set config.export.format to one of {', '.join(FORMATS)}.")
    if not re.fullmatch(r"\w*[^\W_]\w*", split, re.ASCII):
        raise InputError(f"The split name {split!r} cannot be part of a file name. Use letters, digits and underscores.")
    names = list(class_names)
    unusable = [name for name in names if not name or name != name.strip() or "\n" in name]
    if not 0 < len(names) < IGNORE or len(set(names)) < len(names) or unusable:
        raise InputError(
            f"The class names {names} cannot be exported. Give between 1 and {IGNORE - 1} of them, all different, none empty, "
            "with blanks around it or over two lines."
        )
    if total < 1:
        raise InputError(f"There are no pseudo-labels of split {split!r} to export. Run the stage that makes them first.")
    return writers[format](_checked(pseudo_labels, len(names), split, total), directory, class_names=names, split=split)


def _checked(pseudo_labels: Iterable[PseudoLabel], class_count: int, split: str, total: int) -> Iterator[PseudoLabel]:
    """Yields exactly `total` pseudo-labels, each with known classes and a name of its own."""
    seen = set()
    again = "Delete the records of the stage that makes them and run it again."
    for pseudo_label in pseudo_labels:
        check_name(pseudo_label)
        check_classes(pseudo_label, class_count)
        if pseudo_label.file_name in seen:
            raise InputError(f"{pseudo_label.file_name!r} has two pseudo-labels in split {split!r}. {again}")
        seen.add(pseudo_label.file_name)
        if len(seen) > total:
            raise InputError(f"Split {split!r} has more than the {total} pseudo-labels announced. {again}")
        yield pseudo_label
    if len(seen) < total:
        raise InputError(f"Split {split!r} has {len(seen)} pseudo-labels instead of {total}. {again}")
