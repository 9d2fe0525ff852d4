"""COCO 2014 and 2017, and files of the same layout with categories of one's own: class
masks painted from the instances, and these themselves.
"""

import functools
import logging
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from hfpl_jax.data import coco_file
from hfpl_jax.data.builder import Record
from hfpl_jax.data.class_names import COCO_CLASSES
from hfpl_jax.data.coco_categories import read_class_names
from hfpl_jax.data.coco_paint import MASK_RULES, draw, has_outline, paint
from hfpl_jax.data.photographs import (
    Annotated,
    Photograph,
    PhotographBuilder,
    SizeError,
    download,
)
from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE

_LOG = logging.getLogger(__name__)

ADDRESS = "http://images.cocodataset.org"


class CocoSeg(PhotographBuilder):
    """Photographs of `annotations/instances_{train,val}{year}.json`.

    The classes are the categories of the file of train in the order of their
    identifiers, whatever these are; COCO's own become 1..80. The file of val may number
    them in another way, and must name no others.

    Image labels are the classes that are visible in the painted mask. A photograph in
    which none is (no annotation, or crowds only) has nothing to learn from: it is left
    out, counted in the log and listed in `skipped.jsonl`, and is no error. One with an
    object that has a box alone, no outline, has no mask; the classes of all its objects
    are its image labels. Where there is a mask, the annotations are the true instances:
    they may overlap, whatever the mask rule is, and crowds stay crowds.

    The photographs are sought in `{train,val}{year}` and `images/{train,val}{year}`. As
    the photographs of 2014 and 2017 are the same, year 2014 also takes them from the
    folders of 2017.

    Args:
      root: holds `annotations` and the folders of photographs; without it the official
        archives are downloaded.
      on_bad_record: see `SegmentationBuilder`.
      year: "2014" or "2017".
      mask_rule: "largest_first" paints crowds as ignore (255), then objects by falling
        area, so that a small one in front of a large one stays visible.
        "annotation_order" paints every object, crowds too, as its class in the order of
        the file and has no ignore; the published figures of HFPL were made with it.
    """

    DESCRIPTION = "COCO with class masks painted from the instances; image labels from those masks."
    official_splits = True

    def __init__(
        self,
        *,
        root: str = "",
        on_bad_record: str = "raise",
        year: str = "2017",
        mask_rule: str = "largest_first",
        **kwargs,
    ):
        if str(year) not in ("2014", "2017"):
            raise InputError(
                f"config.data.options.year is {year!r}; COCO instances exist for '2014' and '2017'."
            )
        if mask_rule not in MASK_RULES:
            raise InputError(
                f"config.data.options.mask_rule is {mask_rule!r}; choose one of "
                f"{', '.join(MASK_RULES)}."
            )
        self._year, self._mask_rule = str(year), mask_rule
        self._listings: dict[str, list[Record]] = {}
        options = {"year": self._year, "mask_rule": mask_rule}
        super().__init__(root=root, on_bad_record=on_bad_record, options=options, **kwargs)

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        if self.root is None:
            return COCO_CLASSES
        self._image_folders("train")  # its absence says more than that of the file
        return read_class_names(self._instances("train"), *self._why("train"))

    def split_names(self) -> tuple[str, ...]:
        return tuple(
            split
            for split in ("train", "val")
            if split == "train" or self.root is None or self._instances(split).exists()
        )

    def source_files(self) -> list[pathlib.Path]:
        if self.root is None:
            return []
        return [
            path
            for split in self.split_names()
            for path in (self._instances(split), *self._image_folders(split))
        ]

    def addresses(self) -> dict[str, str]:
        """Official archives, by the folder each holds."""
        photographs = {
            f"{split}{self._year}": f"{ADDRESS}/zips/{split}{self._year}.zip"
            for split in ("train", "val")
        }
        return {
            "annotations": f"{ADDRESS}/annotations/annotations_trainval{self._year}.zip",
            **photographs,
        }

    def _download(self, dl_manager) -> None:
        root = pathlib.Path(dl_manager.download_dir) / f"coco{self._year}"
        root.mkdir(parents=True, exist_ok=True)
        fetched = download(dl_manager, self.addresses())
        for name, path in fetched.items():
            link = root / name
            link.unlink(missing_ok=True)
            link.symlink_to(pathlib.Path(path) / name, target_is_directory=True)
        self.root = root

    def _instances(self, split: str) -> pathlib.Path:
        return self.root / "annotations" / f"instances_{split}{self._year}.json"

    def _image_folders(self, split: str) -> list[pathlib.Path]:
        own = [f"{split}{self._year}", f"images/{split}{self._year}"]
        # The photographs of val2014 are spread over train2017 and val2017.
        shared = (
            ["train2017", "images/train2017", "val2017", "images/val2017"]
            if self._year == "2014"
            else []
        )
        for names in (own, shared):
            if folders := [self.root / name for name in names if (self.root / name).is_dir()]:
                return folders
        raise InputError(
            f"config.data.root = {str(self.root)!r} has no photographs of split {split}: none of "
            f"{', '.join(own + shared)} is a folder. "
            f"Unpack {ADDRESS}/zips/{split}{self._year}.zip there, or correct the path."
        )

    def _why(self, split: str) -> tuple[str, str]:
        """Why the instances file is read, and the cure where it cannot be."""
        return (
            f"split {split} of coco_seg is described there",
            f"Unpack {ADDRESS}/annotations/annotations_trainval{self._year}.zip there, or correct "
            "config.data.root and options.year.",
        )

    @staticmethod
    def _image_file(
        image: coco_file.Photograph, folders: list[pathlib.Path]
    ) -> tuple[str, pathlib.Path]:
        """Name and path; the folders of 2017 hold COCO_val2014_000000000007.jpg under
        its bare identifier.
        """
        names = [image.file_name]
        bare = f"{image.number:012d}.jpg"
        if image.file_name.endswith(f"_{bare}"):
            names.append(bare)
        for folder in folders:
            for name in names:
                if os.path.exists(
                    folder / name
                ):  # unlike Path.exists, also for a name that no file can have
                    return name, folder / name
        return image.file_name, folders[0] / image.file_name

    def _records(self, split: str) -> Sequence[Record]:
        if split in self._listings:  # reading it takes half a minute
            return self._listings.pop(split)
        path, folders = self._instances(split), self._image_folders(split)
        content = coco_file.read_coco_file(path, self.class_names, *self._why(split))
        faults = [image.error for image in content.photographs if image.error is not None]
        if self.on_bad_record == "raise" and (faults or content.strays):
            raise (faults + content.strays)[0]
        if content.strays:
            _LOG.warning(
                "%d annotations are left out; the first reason: %s",
                len(content.strays),
                content.strays[0],
            )
        records, without_outline = [], 0
        for image in content.photographs:
            without_outline += any(not has_outline(one.segmentation) for one in image.objects)
            if image.error is None:
                name, image_path = self._image_file(image, folders)
                records.append(Record(name, Photograph(image_path, (path,), image)))
            else:
                records.append(Record(image.file_name, image.error))
        if without_outline:
            _LOG.warning(
                "%s: %d of %d photographs have objects without an outline, so they get image "
                "labels and no mask.",
                path,
                without_outline,
                len(records),
            )
        if self.class_names != COCO_CLASSES:
            _LOG.info(
                "%s: %d classes of its own, in the order of their ids: %s.",
                path,
                len(self.class_names),
                ", ".join(self.class_names),
            )
        self._listings[split] = records
        return records

    def _annotate(self, record: Record, height: int, width: int) -> Annotated:
        photograph: Photograph = record.payload
        described: coco_file.Photograph = photograph.annotation
        where = f"{photograph.sources[0]}, image {record.file_name}"
        said = (described.height or height, described.width or width)
        if said != (height, width):
            raise SizeError(
                f"{where}: 'width' and 'height' say {said[1]}x{said[0]}, but the "
                f"photograph is {width}x{height}, so its "
                "masks would not fit. Restore the original photograph, or correct the two fields "
                "together with the polygons."
            )
        instances = draw(described.objects, height, width, where=where)
        if len(instances) < len(described.objects):
            crowds_count = self._mask_rule == "annotation_order"
            return Annotated(
                [one.label for one in described.objects if crowds_count or not one.crowd], None
            )
        mask = paint(instances, height, width, rule=self._mask_rule)
        labels = [int(value) - 1 for value in np.unique(mask) if value not in (0, IGNORE)]
        return Annotated(labels, mask, instances)
