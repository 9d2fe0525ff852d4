"""The table of formats: nothing else in the library learns one's name."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Sequence

from hfpl_jax.export.coco import CocoWriter
from hfpl_jax.export.parquet import ParquetWriter, check_parquet
from hfpl_jax.export.parts import Split, Writer
from hfpl_jax.export.png import PngWriter, check_apart
from hfpl_jax.export.tfds_directory import TfdsWriter
from hfpl_jax.export.voc import VocWriter, check_voc
from hfpl_jax.export.yolo import YoloWriter, check_yolo

Check = Callable[[Sequence[str], Iterable[str]], None]


@dataclasses.dataclass(frozen=True)
class Format:
    """One format of the export.

    Attributes:
      writer: of a split in a folder.
      check: raises InputError if it cannot hold these classes and photographs.
      instances: whether it holds instances.
      whole: whether it is of little use without the photographs.
      coloured: whether its masks are PNGs that may have a palette.
    """

    writer: Callable[[pathlib.Path, Split], Writer]
    check: Check = lambda class_names, file_names: None
    instances: bool = False
    whole: bool = False
    coloured: bool = False


FORMATS = {
    **{
        name: Format(functools.partial(TfdsWriter, file_format=name), instances=True, whole=True)
        for name in ("tfrecord", "array_record")
    },
    "png": Format(PngWriter, lambda _, file_names: check_apart(file_names), coloured=True),
    "coco": Format(CocoWriter, instances=True),
    "voc": Format(VocWriter, check_voc, whole=True, coloured=True),
    "parquet": Format(ParquetWriter, check_parquet, whole=True),
    "yolo": Format(YoloWriter, check_yolo, whole=True),
}
"""By name."""
