"""Pseudo-labels as a dataset for the next network, in one format or several:
`hfpl_jax.export.formats` lists them.
"""

import contextlib
import os
import pathlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.export.formats import FORMATS
from hfpl_jax.export.parts import Split, publish_parts, write_parts
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import staging_folder
from hfpl_jax.masks import IGNORE, voc_palette
from hfpl_jax.runtime import distributed

__all__ = ["FORMATS", "PseudoLabel", "check_exportable", "export"]


def export(
    pseudo_labels: Sequence[PseudoLabel],
    places: Mapping[str, str | os.PathLike],
    *,
    class_names: Sequence[str],
    split: str,
    palette: bool = True,
) -> dict[str, pathlib.Path]:
    """Writes one split of pseudo-labels in one pass, each format whole or not at all; an
    earlier export of the same split and format is replaced.

    Several splits may share a folder. In a run of several processes all of them call
    this with the same arguments, on a disk that all of them see: each writes a part of
    the split, the first one publishes, and what they write together is the same for any
    number of them, but for the number of shards.

    Args:
      pseudo_labels: each photograph once. Read one at a time, so a sequence need not
        hold them all; each process asks for its own part and for the first one.
      places: the folder of each format, made if missing; no two share one. "tfrecord"
        and "array_record": it loads with `tfds.builder_from_directory`; "png":
        `split`/masks and more in it; "coco": `split`.json, the photographs in
        images/`split` and, where there are instances, `split`.instances.json; "voc",
        "parquet" and "yolo": the tree of `VocWriter`, `ParquetWriter`, `YoloWriter`.
        png, voc, parquet and yolo have no instances, voc, coco and yolo no confidence a
        pixel.
      class_names: the C foreground classes, without background.
      split: name of the split, of letters, digits and underscores.
      palette: whether masks in PNGs have VOC's colours; else they are grey.

    Returns:
      What to open, a path for each format: the folder, or a file in it.

    Raises:
      InputError: an unknown format, an unusable split or class name; no pseudo-label,
        one with other classes, unlike the first, of a name that leads out of a folder,
        or of the same photograph as another; a folder that cannot be written.
    """
    names = list(class_names)
    folders = {format: pathlib.Path(place) for format, place in places.items()}
    check_exportable(folders, split=split, class_names=names)
    if len(set(folders.values())) < len(folders):
        raise InputError(
            f"The formats {', '.join(folders)} of an export would share a folder "
            f"({', '.join(map(str, folders.values()))}). Give each one of its own."
        )
    if not len(pseudo_labels):
        raise InputError(
            f"There are no pseudo-labels of split {split!r} to export. Run the stage that makes "
            "them first."
        )
    exported = Split(
        split,
        names,
        first=pseudo_labels[0],
        total=len(pseudo_labels),
        palette=voc_palette() if palette else None,
    )
    writers = {
        format: FORMATS[format].writer(folder, exported) for format, folder in folders.items()
    }
    with contextlib.ExitStack() as stack:
        staged = {
            stack.enter_context(staging_folder(folders[format] / split)): writer
            for format, writer in writers.items()
        }
        write_parts(staged, pseudo_labels, class_count=len(names))
        distributed.meet()
        if distributed.is_first():
            for folder, writer in staged.items():
                publish_parts(writer, folder, total=len(pseudo_labels))
    distributed.meet()
    return {format: writer.path for format, writer in writers.items()}


def check_exportable(
    formats: Collection[str],
    *,
    split: str,
    class_names: Sequence[str],
    file_names: Iterable[str] = (),
) -> None:
    """Whether formats can hold a split of these names: what can be said before there
    are pseudo-labels.

    Raises:
      InputError: an unknown format, an unusable split or class name, two photographs
        whose pseudo-labels would share a file, and what else a format cannot hold.
    """
    for format in formats:
        if format not in FORMATS:
            hint = in_brackets(did_you_mean(format, FORMATS))
            raise InputError(
                f"The export format {format!r} is unknown{hint}. Choose among {', '.join(FORMATS)}."
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
    photographs = list(file_names)
    for format in formats:
        FORMATS[format].check(names, photographs)
