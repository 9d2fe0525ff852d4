"""The confusion matrix of label maps, and the intersection over union read off it.

A matrix holds sums: add those of all images, divide once at the end.
"""

import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE
from hfpl_jax.shapes import Float, Int, UInt8, typed


def check_labels(labels: np.ndarray, *, num_classes: int, what: str) -> None:
    """Raises an InputError if a label is neither one of the classes nor 255."""
    present = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=256))
    wrong = [int(label) for label in present if num_classes <= label != IGNORE]
    if wrong:
        raise InputError(
            f"The {what} holds the labels {wrong}, but there are {num_classes} classes: labels are "
            f"0 (background) to {num_classes - 1}, "
            f"or {IGNORE} (ignore). Check that the masks and the class names belong to the same "
            "dataset."
        )


@typed
def confusion_matrix(
    prediction: UInt8[np.ndarray, "h w"], truth: UInt8[np.ndarray, "h w"], *, num_classes: int
) -> Int[np.ndarray, "k k"]:
    """Counts the pixels of true class i (row) labelled as class j (column); background
    is class 0.

    A pixel is left out where the truth is 255, and where the prediction is 255 (a
    pseudo-label that abstains).

    Args:
      prediction: labels 0 ... num_classes - 1, or 255.
      truth: the same.
      num_classes: the classes with background.

    Returns:
      int64 counts.

    Raises:
      InputError: a label is outside the classes.
    """
    check_labels(prediction, num_classes=num_classes, what="prediction")
    check_labels(truth, num_classes=num_classes, what="true mask")
    decided = (truth != IGNORE) & (prediction != IGNORE)
    index = truth[decided].astype(np.int64) * num_classes + prediction[decided]
    return np.bincount(index, minlength=num_classes**2).reshape(num_classes, num_classes)


@typed
def iou_per_class(confusion: Int[np.ndarray, "*batch k k"]) -> Float[np.ndarray, "*batch k"]:
    """Intersection over union of each class: IoU_k = M_kk / (sum_j M_kj + sum_i M_ik -
    M_kk), in [0, 1].

    A class that is neither in the truth nor predicted anywhere has no union; its value
    is nan.
    """
    intersection = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(axis=-1) + confusion.sum(axis=-2) - intersection
    return np.divide(intersection, union, out=np.full_like(intersection, np.nan), where=union > 0)


@typed
def mean_iou(confusion: Int[np.ndarray, "*batch k k"]) -> Float[np.ndarray, "*batch"]:
    """Mean IoU over the classes, with background, that have a union; nan if none has.

    On a whole dataset all classes have one, and this is the published mIoU. On a small
    subset the classes that do not occur are left out rather than counted as 0.
    """
    iou = iou_per_class(confusion)
    scored = ~np.isnan(iou)
    total, count = np.where(scored, iou, 0.0).sum(axis=-1), scored.sum(axis=-1)
    return np.asarray(
        np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    )


@typed
def all_background(confusion: Int[np.ndarray, "k k"]) -> Int[np.ndarray, "k k"]:
    """The confusion matrix of the same pixels if each were labelled as background: the
    masks that cost nothing, which any others have to beat.
    """
    matrix = np.zeros_like(confusion)
    matrix[:, 0] = confusion.sum(axis=1)
    return matrix
