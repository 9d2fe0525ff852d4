"""Draws the objects of a COCO photograph as instances, and paints these into one class
mask.

pycocotools trusts what it is given, so all is checked here before it draws.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from hfpl_jax.data.coco_file import Object
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance, decode_counts, decode_rle
from hfpl_jax.masks import IGNORE

MASK_RULES = ("largest_first", "annotation_order")

_LONGEST_OUTLINE = 5e6  # pixels; drawing one takes some 30 bytes


def has_outline(segmentation: Any) -> bool:
    """Whether there is anything to draw: not where boxes alone were drawn, whose
    segmentation is missing, empty, or polygons of two points.
    """
    if isinstance(segmentation, list):
        return not all(_is_short(polygon) for polygon in segmentation)
    return segmentation is not None


def _is_short(polygon: Any) -> bool:
    """Whether a polygon has two points or fewer, which enclose nothing."""
    try:
        return np.asarray(polygon, np.float64).ndim == 1 and len(polygon) < 6
    except (ValueError, TypeError, OverflowError):
        return False  # drawing it will say what is wrong


def draw(objects: Sequence[Object], height: int, width: int, *, where: str) -> list[Instance]:
    """The objects of one photograph that have an outline, in the order of the file.

    Args:
      objects: with polygons or a run-length code as segmentation.
      height, width: of the photograph.
      where: file and image, for messages.

    Raises:
      InputError: a segmentation that cannot be drawn.
    """
    return [
        Instance(one.label, _run_length(one, height, width, where), crowd=one.crowd)
        for one in objects
        if has_outline(one.segmentation)
    ]


def paint(instances: Sequence[Instance], height: int, width: int, *, rule: str) -> np.ndarray:
    """Class mask of one photograph.

    Args:
      instances: in the order of the file, which those of equal area keep.
      height, width: of the photograph.
      rule: one of `MASK_RULES`.

    Returns:
      uint8 [h, w]: 0 background, label + 1, and 255 for crowds if the rule is
      "largest_first".
    """
    mask = np.zeros((height, width), np.uint8)
    if rule == "largest_first":
        instances = sorted(
            instances, key=lambda one: (not one.crowd, -int(coco_mask.area(one.segmentation)))
        )  # crowds below everything, then the largest
    for one in instances:
        ignored = one.crowd and rule == "largest_first"
        mask[decode_rle(one.segmentation)] = IGNORE if ignored else one.label + 1
    return mask


def _run_length(one: Object, height: int, width: int, where: str) -> dict[str, Any]:
    """Run-length code of a segmentation that has an outline."""
    segmentation = one.segmentation
    try:
        if isinstance(segmentation, dict):
            return _as_text(_checked_code(segmentation, height, width))
        if not isinstance(segmentation, list):
            raise ValueError(f"it is of the type {type(segmentation).__name__}")
        polygons = [
            np.asarray(polygon, np.float64) for polygon in segmentation if not _is_short(polygon)
        ]
        outline = sum(_outline(polygon) for polygon in polygons)
        if not outline <= _LONGEST_OUTLINE:
            raise ValueError(f"its outline is {outline:.3g} pixels long")
        return _as_text(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"{where}: the 'segmentation' of {one.name} cannot be drawn ({error}). "
            "It must be a list of polygons [x, y, x, y, ...] or a run-length code with 'counts' "
            "and 'size'."
        ) from error


def _as_text(rle: dict[str, Any]) -> dict[str, Any]:
    """As `encode_rle` gives it."""
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _checked_code(segmentation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    size = segmentation["size"]
    if list(size) != [height, width]:
        raise ValueError(
            f"its 'size' is {size}, which must be [height, width], {[height, width]} here"
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
            f"the runs of its 'counts' do not add up to the {pixels} pixels of the photograph"
        )
    return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def _outline(polygon: np.ndarray) -> float:
    """Steps that drawing a polygon takes, in pixels; NaN or infinite if a coordinate
    is.
    """
    if polygon.ndim != 1:
        raise ValueError("a polygon of it is no flat list of numbers")
    if len(polygon) % 2:
        raise ValueError(f"a polygon of it has {len(polygon)} numbers, not pairs of x and y")
    corners = polygon.reshape(-1, 2)
    with np.errstate(invalid="ignore"):  # infinity - infinity
        return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())
