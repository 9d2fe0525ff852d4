"""Confusion matrices for every background threshold from one pass over the CAMs.

With background score t, a pixel's label is its strongest class where that class's CAM
exceeds t, else background. The strongest class does not depend on t, and the label
changes only once as t grows. So a histogram over (true class, strongest class, number
of thresholds exceeded) says everything; its cumulative sums are the confusion matrices.
"""

import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE, strongest_class
from hfpl_jax.metrics.confusion import check_labels, mean_iou
from hfpl_jax.shapes import Float, Int, UInt8, typed

NUM_THRESHOLDS = 100
THRESHOLDS = tuple(i / 100 for i in range(NUM_THRESHOLDS))
"""The background scores tried, all of [0, 1): 0.00, 0.01, ..., 0.99."""
_NEXT_THRESHOLD = np.asarray([*THRESHOLDS, np.inf], np.float32)


@typed
def sweep_counts(
    cams: Float[np.ndarray, "h w n"],
    classes: Int[np.ndarray, "n"],
    truth: UInt8[np.ndarray, "h w"],
    *,
    num_classes: int,
) -> Int[np.ndarray, "k k m"]:
    """The histogram of one image; add those of all images, then call `confusions`.

    Args:
      cams: float32, in [0, 1], one map for each class of the image.
      classes: zero-based foreground classes of the maps, ascending.
      truth: 0 background, 1 + class, 255 ignored.
      num_classes: the classes with background.

    Returns:
      int64 pixel counts [true class, 1 + strongest class, number of thresholds its CAM
      exceeds (0 ... 100)]; without any class in the image, all pixels count as
      background at every threshold.

    Raises:
      InputError: a true label is outside the classes.
    """
    check_labels(truth, num_classes=num_classes, what="true mask")
    counts = np.zeros((num_classes, num_classes, NUM_THRESHOLDS + 1), np.int64)
    known = truth != IGNORE
    rows = truth[known].astype(np.int64)
    if not len(classes):
        counts[:, 0, 0] = np.bincount(rows, minlength=num_classes)
        return counts
    strongest, strength = strongest_class(cams)
    exceeded = _exceeded(strength[known])
    shape = (num_classes, len(classes), NUM_THRESHOLDS + 1)
    index = (rows * shape[1] + strongest[known]) * shape[2] + exceeded
    counts[:, classes + 1] = np.bincount(index, minlength=np.prod(shape)).reshape(shape)
    return counts


def _exceeded(strength: np.ndarray) -> np.ndarray:
    """How many thresholds lie below each value; one that ties is not exceeded.

    The hundredths in a value are as many, or one less: no search is needed.
    """
    hundredths = (strength * np.float32(NUM_THRESHOLDS)).astype(np.int64).clip(0, NUM_THRESHOLDS)
    return hundredths + (_NEXT_THRESHOLD[hundredths] < strength)


@typed
def confusions(counts: Int[np.ndarray, "k k m"]) -> Int[np.ndarray, "t k k"]:
    """The confusion matrices [threshold, true class, predicted class], in the order of
    THRESHOLDS, from summed `sweep_counts`.
    """
    reached = np.cumsum(counts[..., ::-1], axis=-1)[
        ..., ::-1
    ]  # pixels that exceed at least m thresholds
    matrices = np.moveaxis(
        reached[..., 1:], -1, 0
    ).copy()  # threshold number t is exceeded by those that exceed at least t + 1
    matrices[:, :, 0] = counts.sum(axis=(1, 2)) - matrices.sum(axis=2)
    return matrices


@typed
def has_objects(counts: Int[np.ndarray, "k k m"]) -> bool:
    """Whether the true masks behind `sweep_counts` hold any pixel of a foreground
    class; without one, the highest threshold wins and says nothing.
    """
    return bool(counts[1:].any())


@typed
def best_threshold(matrices: Int[np.ndarray, "t k k"]) -> tuple[float, float]:
    """The threshold with the highest mIoU, and that mIoU.

    Of several in succession it is the middle one, of two the one that is nearer to the
    middle of the sweep: no CAM lies between them, so it is furthest from those that do
    lie beside them, and at an end of the sweep only where nothing inside is as good.

    Raises:
      InputError: the matrices are empty, because no image had a mask.
    """
    scores = mean_iou(matrices)
    if np.isnan(scores).all():
        raise InputError(
            "The background threshold cannot be chosen: no image of the split has a labelled "
            "pixel. Give the threshold as a number."
        )
    best = middle_of_best(scores)
    return THRESHOLDS[best], float(scores[best])


def middle_of_best(scores: np.ndarray) -> int:
    """The position of the best of a sweep's scores: of several in succession the middle
    one, of two the one that is nearer to the middle of the sweep.
    """
    first = last = int(np.nanargmax(scores))
    while last + 1 < len(scores) and scores[last + 1] == scores[first]:
        last += 1
    return (first + last + (first + last < len(scores))) // 2
