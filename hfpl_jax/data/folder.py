"""One's own photographs: a folder of images, a CSV, JSON or COCO file of their labels or
a folder for each class, and masks where there are some.
"""

import collections
import hashlib
import json
import pathlib
from collections.abc import Sequence

from hfpl_jax.data.builder import Record
from hfpl_jax.data.find_file import Finder, is_absent, normal
from hfpl_jax.data.label_entry import Entry
from hfpl_jax.data.label_file import read_label_file
from hfpl_jax.data.label_folders import FOLDERS, read_label_folders
from hfpl_jax.data.label_readings import check_numbers_fit_masks
from hfpl_jax.data.mask_file import find_mask, read_mask
from hfpl_jax.data.name_checks import BACKGROUND
from hfpl_jax.data.photographs import Annotated, Photograph, PhotographBuilder
from hfpl_jax.errors import InputError


class Folder(PhotographBuilder):
    """Photographs below `root`, named with their labels in a CSV or JSON file
    (`hfpl_jax.data.label_file` describes both) or a COCO file, or in folders of their
    classes.

    Splits are those of the file's split column or field; without it all is train.
    A photograph of `background` alone has no labels; it is kept, and trained with a
    target of zeros.

    Args:
      root: folder of the photographs, JPEG or PNG, in it or in folders below.
      on_bad_record: see `SegmentationBuilder`.
      labels: the label file, relative to `root` or absolute; "folders" for a folder a
        class (`hfpl_jax.data.label_folders`).
      masks: folder of masks, relative to `root` or absolute, "" for none: `a/b.png`, or
        `a/b.PNG`, is the mask of `a/b.jpg`, a grayscale or palette PNG of the same size
        with 0 background, 1..C the classes in their order, 255 ignore. Photographs
        without one are allowed.
      unannotated: see `read_coco_labels`.
    """

    DESCRIPTION = "Photographs of a folder with labels from a file."
    labels_beside_masks = True
    keeps_unlabelled = True

    def __init__(
        self,
        *,
        root: str = "",
        on_bad_record: str = "raise",
        labels: str = "labels.csv",
        masks: str = "",
        unannotated: str = "",
        **kwargs,
    ):
        if not root:
            raise InputError("config.data.root is empty: set it to the folder of your photographs.")
        for option, value in (("labels", labels), ("masks", masks)):
            if not isinstance(value, str):
                raise InputError(
                    f"config.data.options.{option} is {value!r}. Set it to a path in quotes, or "
                    "leave it out."
                )
        _check_unannotated(unannotated, labels)
        folder = pathlib.Path(root).expanduser()
        self._mask_folder = folder / masks if masks else None
        self._label_path = folder if labels == FOLDERS else folder / labels
        self._label_files = [] if labels == FOLDERS else [self._label_path]
        options = {"labels": labels, "masks": masks}
        if unannotated:
            options["unannotated"] = unannotated
        if folder.is_dir():
            if labels == FOLDERS:
                self._contents = read_label_folders(folder, self._mask_folder)
                options["listing"] = _digest(self._contents.entries)
            else:
                self._contents = read_label_file(self._label_path, unannotated)
            self._photographs = Finder(folder)
            if self._mask_folder:
                self._check_masks(masks)
        super().__init__(root=root, on_bad_record=on_bad_record, options=options, **kwargs)

    def _check_masks(self, option: str) -> None:
        """Raises InputError if no photograph has one, or their values are in doubt."""
        if not self._mask_folder.is_dir():
            raise InputError(
                f"config.data.options.masks = {option!r}: {self._mask_folder} is no folder. "
                "Correct it, or set it to ''."
            )
        if not self._contents.declared:
            check_numbers_fit_masks(self._label_path, self._contents.class_names)
        self._masks = Finder(self._mask_folder)
        entries = [entry for entry in self._contents.entries if not entry.error]
        named = [_mask_name(entry) for entry in entries]
        self._owners: dict[str, set[str]] = {}  # of each mask
        for name, entry in zip(named, entries, strict=True):
            self._owners.setdefault(normal(name), set()).add(entry.file_name)
        if named and not any(any(self._masks.in_any_case(name)) for name in named):
            raise InputError(
                f"config.data.options.masks = {option!r}: none of the {len(named)} photographs has "
                f"a mask in {self._mask_folder}; the first would be {named[0]!r}"
                f"{self._masks.hint(named[0])}. Save the masks as PNG under the photographs' "
                "names, or set the option to ''."
            )

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
        return [*self._label_files, *dict.fromkeys(files)]

    def _records(self, split: str) -> Sequence[Record]:
        return [self._record(entry) for entry in self._contents.entries if entry.split == split]

    def _record(self, entry: Entry) -> Record:
        if entry.error is not None:
            return Record(entry.file_name or entry.where, entry.error)
        path = self._photographs.find(entry.file_name)
        if is_absent(path):
            return Record(entry.file_name, self._absent(entry, path))
        sources = [*self._label_files]
        try:
            if self._mask_folder:
                sources.append(self._mask(entry))
        except InputError as error:
            return Record(entry.file_name, error)
        return Record(entry.file_name, Photograph(path, tuple(sources), entry.labels))

    def _mask(self, entry: Entry) -> pathlib.Path:
        name = _mask_name(entry)
        path = find_mask(self._masks, name, entry.file_name, self._owners)
        owners = sorted(self._owners[normal(name)])
        if len(owners) > 1 and not is_absent(path):
            raise InputError(
                f"{owners[0]!r} and {owners[1]!r} would both have the mask {path}. Rename one of "
                "the photographs, in the label file too, and give each a mask of its own name."
            )
        return path

    def _absent(self, entry: Entry, path: pathlib.Path) -> InputError:
        return InputError(
            f"Cannot read {path} (there is no such file), but split {entry.split} of {self.name} "
            f"lists it ({entry.where}){self._photographs.hint(entry.file_name)}. Correct the name, "
            "put the file there, or set config.data.on_bad_record = 'skip'."
        )

    def _annotate(self, record: Record, height: int, width: int) -> Annotated:
        photograph: Photograph = record.payload
        masks = photograph.sources[len(self._label_files) :]
        mask_paths = [path for path in masks if not is_absent(path)]
        if not mask_paths:
            return Annotated(photograph.annotation, None)
        mask = read_mask(mask_paths[0], record.file_name, height, width, len(self.class_names))
        return Annotated(photograph.annotation, mask)


def _mask_name(entry: Entry) -> str:
    return str(pathlib.PurePath(entry.file_name).with_suffix(".png"))


def _check_unannotated(value: object, labels: str) -> None:
    if value not in ("", BACKGROUND) or (value and labels == FOLDERS):
        raise InputError(
            f"config.data.options.unannotated is {value!r}. Set it to {BACKGROUND!r} where the "
            "photographs of a COCO file that have no annotations show none of its classes, or "
            "leave it out."
        )


def _digest(entries: Sequence[Entry]) -> str:
    """Of names alone: they say the labels, and the fingerprint knows a file's own name
    without the folders above it.
    """
    return hashlib.sha256(json.dumps([one.file_name for one in entries]).encode()).hexdigest()
