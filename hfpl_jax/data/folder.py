"""One's own photographs: a folder of images, a CSV or JSON file of their labels, and
masks where there are some.
"""

import collections
import pathlib
from collections.abc import Sequence

import numpy as np

from hfpl_jax.data.builder import Record
from hfpl_jax.data.example import decode_mask
from hfpl_jax.data.label_file import read_label_file
from hfpl_jax.data.photographs import Photograph, PhotographBuilder, check_mask, read_bytes
from hfpl_jax.errors import InputError


class Folder(PhotographBuilder):
    """Photographs below `root`, named with their labels in a CSV or JSON file
    (`hfpl_jax.data.label_file` describes both).

    Splits are those of the file's split column or field; without it everything is train.

    Args:
      root: folder of the photographs, JPEG or PNG, in it or in folders below.
      on_bad_record: see `SegmentationBuilder`.
      labels: the label file, relative to `root` or absolute.
      masks: folder of masks, relative to `root` or absolute, "" for none: `a/b.png` is
        the mask of `a/b.jpg`, a grayscale or palette PNG of the same size with 0
        background, 1..C the classes in their order, 255 ignore. Photographs without one
        are allowed.
    """

    DESCRIPTION = "Photographs of a folder with labels from a file."

    def __init__(
        self,
        *,
        root: str = "",
        on_bad_record: str = "raise",
        labels: str = "labels.csv",
        masks: str = "",
        **kwargs,
    ):
        if not root:
            raise InputError("config.data.root is empty: set it to the folder of your photographs.")
        folder = pathlib.Path(root).expanduser()
        self._label_path = folder / labels
        self._mask_folder = folder / masks if masks else None
        if folder.is_dir():
            self._contents = read_label_file(self._label_path)
            if self._mask_folder and not self._mask_folder.is_dir():
                raise InputError(
                    f"config.data.options.masks = {masks!r}: {self._mask_folder} is no folder. "
                    "Correct it, or set it to ''."
                )
        options = {"labels": labels, "masks": masks}
        super().__init__(root=root, on_bad_record=on_bad_record, options=options, **kwargs)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._contents.class_names

    def split_names(self) -> tuple[str, ...]:
        return tuple(collections.Counter(entry.split for entry in self._contents.entries)) or (
            "train",
        )

    def source_files(self) -> list[pathlib.Path]:
        photographs = [
            record.payload for split in self.split_names() for record in self._records(split)
        ]
        files = [
            path
            for item in photographs
            if isinstance(item, Photograph)
            for path in (item.image, *item.sources)
        ]
        return [self._label_path, *dict.fromkeys(files)]

    def _records(self, split: str) -> Sequence[Record]:
        return [self._record(entry) for entry in self._contents.entries if entry.split == split]

    def _record(self, entry) -> Record:
        if entry.error is not None:
            return Record(entry.file_name or entry.where, entry.error)
        sources = [self._label_path]
        if self._mask_folder:
            sources.append(
                self._mask_folder / pathlib.PurePath(entry.file_name).with_suffix(".png")
            )
        return Record(
            entry.file_name, Photograph(self.root / entry.file_name, tuple(sources), entry.labels)
        )

    def _annotate(
        self, record: Record, height: int, width: int
    ) -> tuple[Sequence[int], np.ndarray | None]:
        photograph: Photograph = record.payload
        mask_paths = [path for path in photograph.sources[1:] if path.exists()]
        if not mask_paths:
            return photograph.annotation, None
        mask = decode_mask(
            read_bytes(mask_paths[0], f"it is the mask of {record.file_name}"), str(mask_paths[0])
        )
        return photograph.annotation, check_mask(
            mask, mask_paths[0], height, width, len(self.class_names)
        )
