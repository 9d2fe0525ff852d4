"""COCO 2014 and 2017 in their official layout: class masks painted from the instances."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from hfpl_jax.data.builder import Record
from hfpl_jax.data.class_names import COCO_CLASSES
from hfpl_jax.data.example import IGNORE
from hfpl_jax.data.photographs import Photograph, PhotographBuilder, download, read_bytes
from hfpl_jax.errors import InputError

ADDRESS = "http://images.cocodataset.org"

MASK_RULES = ("largest_first", "annotation_order")

_LONGEST_OUTLINE = 5e6  # pixels; drawing one takes some 30 bytes
_MOST_DIGITS = 7  # of 5 bits, in the length of a run


class CocoSeg(PhotographBuilder):
    """Photographs of `annotations/instances_{train,val}{year}.json`, the 80 classes of
    COCO as 1..80 in the order of their identifiers.

    Image labels are the classes that are visible in the painted mask. A photograph in
    which none is (no annotation, or crowds only) has nothing to learn from: it is left
    out, counted in the log and listed in `skipped.jsonl`, and is no error. The
    photographs are sought in `{train,val}{year}` and `images/{train,val}{year}`. As the
    photographs of 2014 and 2017 are the same, year 2014 also takes them from the
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
        options = {"year": self._year, "mask_rule": mask_rule}
        super().__init__(root=root, on_bad_record=on_bad_record, options=options, **kwargs)

    @property
    def class_names(self) -> tuple[str, ...]:
        return COCO_CLASSES

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

    @staticmethod
    def _image_file(image: dict[str, Any], folders: list[pathlib.Path]) -> tuple[str, pathlib.Path]:
        """Name and path; the folders of 2017 hold a photograph of 2014 under its bare
        identifier."""
        for folder in folders:
            for name in (image["file_name"], f"{image['id']:012d}.jpg"):
                if os.path.exists(
                    folder / name
                ):  # unlike Path.exists, also for a name that no file can have
                    return name, folder / name
        return image["file_name"], folders[0] / image["file_name"]

    def _records(self, split: str) -> Sequence[Record]:
        path, folders = self._instances(split), self._image_folders(split)
        cure = f"Unpack {ADDRESS}/annotations/annotations_trainval{self._year}.zip there, or correct config.data.root and options.year."
        text = read_bytes(path, f"split {split} of coco_seg is described there", cure)
        try:
            content = json.loads(text, object_hook=_compact)
            labels = self._labels(content["categories"], path)
            annotations = {image["id"]: [] for image in content["images"]}
            for annotation in content["annotations"]:
                annotations[annotation["image_id"]].append(annotation)
            records = []
            for image in content["images"]:
                file_name, image_path = self._image_file(image, folders)
                described = (image["height"], image["width"], annotations[image["id"]], labels)
                records.append(Record(file_name, Photograph(image_path, (path,), described)))
            return records
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise InputError(
                f"{path} is not a COCO instances file ({type(error).__name__}: {error}): it needs "
                "'images', 'annotations' and "
                "'categories', each image an id of its own. Download it again, or check the "
                "program that wrote it."
            ) from error

    @staticmethod
    def _labels(categories: list[dict[str, Any]], path: pathlib.Path) -> dict[int, int]:
        """Zero-based label by COCO's identifier, which has gaps."""
        ordered = sorted(categories, key=lambda category: category["id"])
        names = [category["name"] for category in ordered]
        if tuple(names) != COCO_CLASSES:
            different = sorted(set(names) ^ set(COCO_CLASSES)) or ["the order"]
            raise InputError(
                f"The 'categories' of {path} are not the 80 of COCO (different: "
                f"{', '.join(different[:8])}), so train and val would not "
                "mean the same classes. Use COCO's own file, or describe your own classes with "
                "config.data.name = 'folder'."
            )
        return {category["id"]: label for label, category in enumerate(ordered)}

    def _annotate(self, record: Record, height: int, width: int) -> tuple[list[int], np.ndarray]:
        photograph: Photograph = record.payload
        described_height, described_width, annotations, labels = photograph.annotation
        where = f"{photograph.sources[0]}, image {record.file_name}"
        if (height, width) != (described_height, described_width):
            raise InputError(
                f"{where}: 'width' and 'height' say {described_width}x{described_height}, but the "
                f"photograph is {width}x{height}, so its "
                "masks would not fit. Restore the original photograph, or correct the two fields "
                "together with the polygons."
            )
        mask = paint(annotations, labels, height, width, rule=self._mask_rule, where=where)
        return [int(value) - 1 for value in np.unique(mask) if value not in (0, IGNORE)], mask


def paint(
    annotations: Sequence[dict[str, Any]],
    labels: dict[int, int],
    height: int,
    width: int,
    *,
    rule: str,
    where: str,
) -> np.ndarray:
    """Class mask of one photograph.

    Args:
      annotations: of COCO: `category_id`, `segmentation` (polygons, or a run-length
        code) and `iscrowd`.
      labels: zero-based label by category.
      height, width: of the photograph.
      rule: one of `MASK_RULES`; objects of equal area keep the order of the file.
      where: file and image, for messages.

    Returns:
      uint8 [h, w]: 0 background, label + 1, and 255 for crowds if the rule is "largest_first".

    Raises:
      InputError: a category that the file does not declare, or a segmentation that cannot be drawn.
    """
    mask = np.zeros((height, width), np.uint8)
    drawn = []
    for annotation in annotations:
        category = annotation["category_id"]
        if not isinstance(category, int) or category not in labels:
            raise InputError(
                f"{where}: annotation {annotation['id']} has category_id {category!r}, which "
                "'categories' does not declare. "
                "Correct the annotation or add the category."
            )
        code = _run_length(annotation, height, width, where)
        if code is not None:
            drawn.append(
                (bool(annotation["iscrowd"]), int(coco_mask.area(code)), labels[category] + 1, code)
            )
    if rule == "largest_first":
        drawn = sorted(
            drawn, key=lambda item: (not item[0], -item[1])
        )  # crowds below everything, then the largest
    for crowd, _, value, code in drawn:
        mask[coco_mask.decode(code).astype(bool)] = (
            IGNORE if crowd and rule == "largest_first" else value
        )
    return mask


def _run_length(
    annotation: dict[str, Any], height: int, width: int, where: str
) -> dict[str, Any] | None:
    """Run-length code of a segmentation; None if it covers nothing. pycocotools trusts
    what it is given, so all is checked here.
    """
    segmentation = annotation["segmentation"]
    try:
        if isinstance(segmentation, dict):
            if list(segmentation["size"]) != [height, width]:
                raise ValueError(
                    f"its size is {segmentation['size']}, the photograph's {[height, width]}"
                )
            counts = segmentation["counts"]
            counts = np.asarray(counts) if isinstance(counts, list) else decode_counts(str(counts))
            pixels = height * width
            if (
                counts.ndim != 1
                or counts.dtype.kind != "i"
                or counts.min() < 0
                or counts.max() > pixels
                or counts.sum() != pixels
            ):
                raise ValueError(
                    f"the runs of its 'counts' do not add up to the {pixels} pixels of the "
                    "photograph"
                )
            return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        if not isinstance(segmentation, list):
            raise ValueError(f"it is of the type {type(segmentation).__name__}")
        polygons = [
            np.asarray(polygon, np.float64) for polygon in segmentation if len(polygon) >= 6
        ]  # two points or fewer enclose nothing
        outline = sum(_outline(polygon) for polygon in polygons)
        if not outline <= _LONGEST_OUTLINE:
            raise ValueError(f"its outline is {outline:.3g} pixels long")
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)) if polygons else None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"{where}: the 'segmentation' of annotation {annotation['id']} cannot be drawn "
            f"({error}). "
            "It must be a list of polygons [x, y, x, y, ...] or a run-length code with 'counts' "
            "and 'size'."
        ) from error


def decode_counts(text: str) -> np.ndarray:
    """Lengths of alternating runs of 0 and 1 from COCO's compressed text.

    A length is written in two's complement with digits of 5 bits, lowest first, each a
    character of code 48 + digit, + 32 if more follow. From the fourth on, it is the
    difference to the length two before (pycocotools, maskApi.c, rleFrString).

    Raises:
      ValueError: a character is none of these, the last length is cut off, or one is
        longer than any run.
    """
    digits = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (
        not digits.size
        or digits.min() < 0
        or digits.max() > 63
        or not ends.size
        or ends[-1] != digits.size - 1
    ):
        raise ValueError("its 'counts' are no run-length text, or cut off")
    if (ends - starts).max() > _MOST_DIGITS:
        raise ValueError("its 'counts' hold a run longer than any photograph")
    place = 5 * (np.arange(digits.size) - np.repeat(starts, ends - starts + 1))
    lengths = np.add.reduceat((digits & 31) << place, starts) - np.where(
        digits[ends] & 16, 32 << place[ends], 0
    )
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths


def _outline(polygon: np.ndarray) -> float:
    """Steps that drawing a polygon takes, in pixels; NaN or infinite if a coordinate is."""
    if polygon.ndim != 1:
        raise ValueError("a polygon of it is no flat list of numbers")
    corners = polygon[: len(polygon) // 2 * 2].reshape(-1, 2)
    with np.errstate(invalid="ignore"):  # infinity - infinity
        return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())


def _compact(parsed: dict[str, Any]) -> dict[str, Any]:
    """Keeps what is used of a JSON object, with polygons as arrays: half the memory of
    the plain lists.
    """
    if "image_id" in parsed:
        segmentation = parsed.get("segmentation")
        if isinstance(segmentation, list):
            segmentation = [np.asarray(polygon, np.float64) for polygon in segmentation]
        return {
            "id": parsed.get("id"),
            "image_id": parsed["image_id"],
            "category_id": parsed["category_id"],
            "iscrowd": parsed.get("iscrowd", 0),
            "segmentation": segmentation,
        }
    if "file_name" in parsed:
        return {key: parsed[key] for key in ("id", "file_name", "height", "width")}
    return parsed
