"""Pseudo-labels as a dataset for the next network: TFRecord or ArrayRecord (TFDS), PNG,
COCO JSON."""

import os
import pathlib
import re
from collections.abc import Iterable, Sequence

from hfpl_jax.errors import InputError
from hfpl_jax.export.coco import CocoWriter
from hfpl_jax.export.parts import Writer, publish_parts, write_parts
from hfpl_jax.export.png import PngWriter, check_png_names
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import staging_folder
from hfpl_jax.export.tfds_directory import TfdsWriter
from hfpl_jax.masks import IGNORE
from hfpl_jax.runtime import distributed

__all__ = ["FORMATS", "PseudoLabel", "check_exportable", "export"]

FORMATS = ("tfrecord", "array_record", "png", "coco")


def export(
    pseudo_labels: Sequence[PseudoLabel],
    directory: str | os.PathLike,
    *,
    format: str,
    class_names: Sequence[str],
    split: str,
) -> pathlib.Path:
    """Writes one split of pseudo-labels, whole or not at all; an earlier export of the
    same split and format is replaced.

    Several splits may share `directory`. In a run of several processes all of them call
    this with the same arguments, on a disk that all of them see: each writes a part of
    the split, the first one publishes, and what they write together is the same for any
    number of them, but for the number of shards.

    Args:
      pseudo_labels: each photograph once. Read one at a time, so a sequence need not
        hold them all; each process asks for its own part and for the first one.
      directory: made if missing.
      format: "tfrecord" or "array_record": `directory` loads with
        `tfds.builder_from_directory`; "png": `directory`/`split`/masks and more;
        "coco": `directory`/`split`.json, the photographs in `directory`/images/`split`
        and, where there are instances, `directory`/`split`.instances.json. The PNG
        format has no instances.
      class_names: the C foreground classes, without background.
      split: name of the split, of letters, digits and underscores.

    Returns:
      What to open: `directory` for the record formats, else the split's folder or file.

    Raises:
      InputError: an unknown format, an unusable split or class name; no pseudo-label,
        one with other classes, unlike the first, of a name that leads out of a folder,
        or of the same photograph as another; a folder that cannot be written.
    """
    directory, names = pathlib.Path(directory), list(class_names)
    check_exportable(format, split=split, class_names=names)
    if not len(pseudo_labels):
        raise InputError(
            f"There are no pseudo-labels of split {split!r} to export. Run the stage that makes "
            "them first."
        )
    writer: Writer
    if format == "png":
        writer = PngWriter(directory, class_names=names, split=split)
    elif format == "coco":
        writer = CocoWriter(directory, class_names=names, split=split)
    else:
        writer = TfdsWriter(
            directory, pseudo_labels, class_names=names, split=split, file_format=format
        )
    with staging_folder(directory / split) as staged:
        write_parts(writer, pseudo_labels, staged, class_count=len(names))
        distributed.meet()
        if distributed.is_first():
            publish_parts(writer, staged, total=len(pseudo_labels))
    distributed.meet()
    return writer.path


def check_exportable(
    format: str, *, split: str, class_names: Sequence[str], file_names: Iterable[str] = ()
) -> None:
    """Whether a format can hold a split of these names: what can be said before there
    are pseudo-labels.

    Raises:
      InputError: an unknown format, an unusable split or class name, two photographs
        whose pseudo-labels would share a file.
    """
    if format not in FORMATS:
        raise InputError(
            f"The export format {format!r} is unknown. Set config.export.format to one of "
            f"{', '.join(FORMATS)}."
        )
    if not re.fullmatch(r"\w*[^\W_]\w*", split, re.ASCII):
        raise InputError(
            f"The split name {split!r} cannot be part of a file name. Use letters, digits and "
            "underscores."
        )
    names = list(class_names)
    unusable = [name for name in names if not name or name != name.strip() or "\n" in name]
    if not 0 < len(names) < IGNORE or len(set(names)) < len(names) or unusable:
        raise InputError(
            f"The class names {names} cannot be exported. Give between 1 and {IGNORE - 1} of them, "
            "all different, none empty, "
            "with blanks around it or over two lines."
        )
    if format == "png":
        check_png_names(file_names)
