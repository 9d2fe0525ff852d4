"""Contour F: how well the borders of label maps lie on the borders of the true objects.

For each foreground class, over the whole dataset:

    precision = matched length of predicted contours / their length
    recall = matched length of true contours / their length
    F = 2 precision recall / (precision + recall)

in pixels. A contour pixel is matched if the other contour passes within r = ceil(0.008
* image diagonal) of it (Euclidean, between pixel centres). HFPL, section 4.1; the
boundary map and tolerance are those of the DAVIS benchmark (Perazzi et al., CVPR 2016).
"""

import math

import numpy as np

from hfpl_jax.masks import IGNORE
from hfpl_jax.metrics.confusion import check_labels
from hfpl_jax.shapes import Bool, Float, Int, UInt8, typed

TOLERANCE = 0.008
"""Tolerance radius as a part of the image diagonal."""


@typed
def boundary(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels that differ from their east, south or south-east neighbour; the image
    border itself is no boundary.
    """
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edges[:-1, :] |= mask[:-1, :] ^ mask[1:, :]
    edges[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edges


def tolerance_radius(height: int, width: int) -> int:
    """ceil(0.008 * diagonal), in pixels; at least 1."""
    return math.ceil(TOLERANCE * math.hypot(height, width))


def _matched(contour: np.ndarray, other: np.ndarray, radius: int) -> int:
    # The disk is 2 radius + 1 horizontal segments. Running sums tell whether a segment
    # of `other` is empty, and are asked at the pixels of `contour` only: no dilated
    # image is made.
    height, width = other.shape
    sums = np.zeros((height, width + 1), np.int32)
    np.cumsum(other, axis=1, out=sums[:, 1:])
    rows, columns = np.nonzero(contour)
    hit = np.zeros(rows.shape, bool)
    for dy in range(-radius, radius + 1):
        half = math.isqrt(radius**2 - dy**2)
        row = rows + dy
        inside = (row >= 0) & (row < height)
        row = row.clip(0, height - 1)
        passes = (
            sums[row, (columns + half + 1).clip(max=width)]
            > sums[row, (columns - half).clip(min=0)]
        )
        hit |= inside & passes
    return int(hit.sum())


@typed
def contour_counts(
    prediction: UInt8[np.ndarray, "h w"],
    truth: UInt8[np.ndarray, "h w"],
    *,
    num_classes: int,
    ignoring_255: bool = False,
) -> Int[np.ndarray, "c 4"]:
    """Matches and lengths of the contours of one image; add those of all images, then
    call `contour_f_per_class`.

    As published, a pixel that is 255 counts as background, in the truth and in the
    prediction. Most masks of VOC have a band of 255 around every object, so the true
    contour is then the inner rim of the band.

    With `ignoring_255`, a pixel that is 255 in the truth takes the predicted label,
    whatever it is: the truth is the completion of the mask that suits the prediction
    best. A predicted contour anywhere inside the band is right; one that misses the
    band is wrong, and so is the rim it misses. (To drop the ignored pixels altogether
    would drop nearly every contour of VOC.)

    Args:
      prediction: labels 0 ... num_classes - 1, or 255.
      truth: the same.
      num_classes: the classes with background.
      ignoring_255: let the truth's 255 agree with the prediction.

    Returns:
      int64 [foreground class, (predicted pixels matched, true pixels matched, predicted
      length, true length)].

    Raises:
      InputError: a label is outside the classes.
    """
    check_labels(prediction, num_classes=num_classes, what="prediction")
    check_labels(truth, num_classes=num_classes, what="true mask")
    if ignoring_255:
        truth = np.where(truth == IGNORE, prediction, truth)
    radius = tolerance_radius(*truth.shape)
    counts = np.zeros((num_classes - 1, 4), np.int64)
    for label in np.union1d(prediction, truth):
        if label in (0, IGNORE):
            continue
        predicted, true = boundary(prediction == label), boundary(truth == label)
        counts[label - 1] = (
            _matched(predicted, true, radius),
            _matched(true, predicted, radius),
            predicted.sum(),
            true.sum(),
        )
    return counts


@typed
def contour_f_per_class(counts: Int[np.ndarray, "c 4"]) -> Float[np.ndarray, "c"]:
    """F of each foreground class, in [0, 1]; 1 for a class without any contour, 0 if
    only one side has contours.
    """
    predicted_matched, true_matched, predicted, true = counts.astype(np.float64).T
    precision = np.divide(
        predicted_matched, predicted, out=np.ones_like(predicted), where=predicted > 0
    )
    recall = np.divide(true_matched, true, out=np.ones_like(true), where=true > 0)
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


@typed
def contour_f(counts: Int[np.ndarray, "c 4"]) -> float:
    """Mean F over all foreground classes, as published: a class absent everywhere
    scores 1. nan without foreground classes.
    """
    return float(contour_f_per_class(counts).mean()) if len(counts) else math.nan


@typed
def contour_f_present(counts: Int[np.ndarray, "c 4"]) -> float:
    """Mean F over the foreground classes that have a contour, predicted or true; nan if
    none has. The one to read on a subset.
    """
    present = counts[:, 2:].any(axis=1)
    return float(contour_f_per_class(counts)[present].mean()) if present.any() else math.nan
