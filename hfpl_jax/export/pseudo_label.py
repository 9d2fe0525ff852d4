"""What an export takes: one photograph's pseudo-label."""

import dataclasses
import math
from collections.abc import Collection

import numpy as np

from hfpl_jax.data.name_checks import is_inside
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance
from hfpl_jax.masks import IGNORE
from hfpl_jax.shapes import UInt8, typed


@typed
@dataclasses.dataclass(frozen=True)
class PseudoLabel:
    """The label of every pixel of one photograph.

    Attributes:
      file_name: the photograph's name relative to its image folder, with extension.
      image: the photograph, encoded as JPEG or PNG (`hfpl_jax.data.example.plain_image`
        gives bytes in which every decoder sees the same), or None where the export
        shall do without.
      labels: zero-based foreground classes of the photograph, ascending.
      mask: 0 background, 1..C foreground class `label + 1`, 255 ignore.
      confidence: 0 guessed .. 255 certain, or None.
      instances: those that were found, none or more; None where none were looked for.
    """

    file_name: str
    image: bytes | None
    labels: tuple[int, ...]
    mask: UInt8[np.ndarray, "h w"]
    confidence: UInt8[np.ndarray, "h w"] | None = None
    instances: tuple[Instance, ...] | None = None


def check_name(pseudo_label: PseudoLabel) -> None:
    """Raises InputError if the photograph's name is not `is_inside`: an export, or who
    reads one, names a file after it.
    """
    if not is_inside(pseudo_label.file_name):
        raise InputError(
            f"The photograph's name {pseudo_label.file_name[:100]!r} does not name a file inside "
            "its image folder. "
            "Correct the name in the dataset's list of labels."
        )


def check_classes(pseudo_label: PseudoLabel, class_count: int) -> None:
    """Raises InputError, naming the photograph, if a label, a mask value or an instance
    is outside the `class_count` foreground classes.
    """
    name = pseudo_label.file_name
    labels = pseudo_label.labels
    if list(labels) != sorted(set(labels)) or any(not 0 <= label < class_count for label in labels):
        raise InputError(
            f"The pseudo-label of {name} has labels {list(labels)}; they must be ascending and "
            f"from 0 to {class_count - 1}. "
            "Make the pseudo-labels with the class names they are exported with."
        )
    if math.prod(pseudo_label.mask.shape) == 0:
        raise InputError(
            f"The pseudo-label of {name} has a mask of size {pseudo_label.mask.shape}. Make its "
            "pseudo-label again."
        )
    values = np.flatnonzero(np.bincount(pseudo_label.mask.ravel(), minlength=256))
    outside = [int(value) for value in values if class_count < value < IGNORE]
    if outside:
        raise InputError(
            f"The mask of {name} holds {outside}; only 0 (background), 1 to {class_count} "
            f"(classes) and {IGNORE} (ignore) are known. "
            "Make the pseudo-labels with the class names they are exported with."
        )
    for one in pseudo_label.instances or ():
        if not 0 <= one.label < class_count:
            raise InputError(
                f"An instance of {name} has the label {one.label}; labels are from 0 to "
                f"{class_count - 1}. Make the instances with the class names they are exported "
                "with."
            )


def check_instances(pseudo_label: PseudoLabel) -> None:
    """Raises InputError, naming the photograph, if an instance is not a found one of a
    photograph of this size.
    """
    height, width = pseudo_label.mask.shape
    for one in pseudo_label.instances or ():
        row, column = one.peak or (-1, -1)
        scored = one.score is not None and math.isfinite(one.score)
        inside = 0 <= row < height and 0 <= column < width
        if one.segmentation["size"] != [height, width] or not scored or not inside:
            raise InputError(
                f"An instance of {pseudo_label.file_name} has a mask of size "
                f"{one.segmentation['size']}, the score {one.score} and the peak {one.peak}; it "
                f"needs a mask of size {[height, width]}, a finite score and a peak (row, column) "
                "inside of it. Make its instances again."
            )


def check_like_first(
    pseudo_label: PseudoLabel,
    features: Collection[str],
    fields: Collection[str] = ("image", "confidence", "instances"),
) -> None:
    """Raises InputError, naming the photograph, if one of `fields` is given where the
    first pseudo-label, of which `features` were made, has none, or the other way round.
    """
    for field in fields:
        if (getattr(pseudo_label, field) is not None) != (field in features):
            verb = "lacks" if field in features else "has"
            raise InputError(
                f"The pseudo-label of {pseudo_label.file_name} {verb} `{field}`, unlike the first "
                "one. Give it for all photographs or for none."
            )
