"""Sums turned into named figures: a flat dictionary for metrics.json and a table to
read.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hfpl_jax.metrics.confusion import all_background, iou_per_class, mean_iou
from hfpl_jax.metrics.contour import contour_f, contour_f_per_class, contour_f_present
from hfpl_jax.metrics.instance_precision import IOUS, class_mean
from hfpl_jax.metrics.pointing import pointing_accuracy

BACKGROUND = "background"
APS, MEANS = (tuple(f"{kind}_{100 * iou:.0f}" for iou in IOUS) for kind in ("ap", "map"))
"""Names of the average precisions of a class, and of their means."""


def flat_metrics(
    prefix: str,
    class_names: Sequence[str],
    *,
    confusion: np.ndarray,
    contours: np.ndarray,
    contours_ignoring_255: np.ndarray,
) -> dict[str, float]:
    """The figures of one split as `{prefix}/{figure}` -> float in [0, 1].

        miou                        mean over the classes with pixels, with background
        miou_all_background         the mIoU if every pixel were labelled background
        iou/CLASS                   of each class with pixels
        contour_f                   mean over all foreground classes, an absent one
                                    counting 1 (as published)
        contour_f_present           mean over the foreground classes that have a contour
        contour_f_ignoring_255      as contour_f_present, where the truth's 255 agrees
                                    with the prediction
        contour_f/CLASS             of each foreground class that has a contour

    A figure that nothing was counted for is left out, so every value is a number and
    the dictionary is valid JSON.

    Args:
      prefix: split and kind of label, such as "train/cam".
      class_names: the foreground classes.
      confusion: summed `confusion_matrix`.
      contours: summed `contour_counts`.
      contours_ignoring_255: the same with `ignoring_255=True`.
    """
    figures = {
        "miou": float(mean_iou(confusion)),
        "miou_all_background": float(mean_iou(all_background(confusion))),
        "contour_f": contour_f(contours),
        "contour_f_present": contour_f_present(contours),
        "contour_f_ignoring_255": contour_f_present(contours_ignoring_255),
    }
    for name, iou in zip((BACKGROUND, *class_names), iou_per_class(confusion), strict=True):
        figures[f"iou/{name}"] = float(iou)
    for name, f, counts in zip(class_names, contour_f_per_class(contours), contours, strict=True):
        figures[f"contour_f/{name}"] = float(f) if counts[2:].any() else math.nan
    return {f"{prefix}/{name}": value for name, value in figures.items() if not math.isnan(value)}


def per_class(
    metrics: Mapping[str, float], prefix: str, figure: str, class_names: Sequence[str]
) -> dict[str, float]:
    """The values of `{prefix}/{figure}/CLASS`, background first, without the classes
    that have none.
    """
    keys = {name: f"{prefix}/{figure}/{name}" for name in (BACKGROUND, *class_names)}
    return {name: metrics[key] for name, key in keys.items() if key in metrics}


def per_class_table(metrics: Mapping[str, float], prefix: str, class_names: Sequence[str]) -> str:
    """IoU and contour F of every class in percent, as lines of text; the last line
    holds the means over the classes shown.
    """
    columns = [
        ("IoU", per_class(metrics, prefix, "iou", class_names)),
        ("contour F", per_class(metrics, prefix, "contour_f", class_names)),
    ]
    means = [metrics.get(f"{prefix}/miou"), metrics.get(f"{prefix}/contour_f_present")]
    return _table(prefix, (BACKGROUND, *class_names), columns, means)


def instance_metrics(
    prefix: str, class_names: Sequence[str], *, precision: np.ndarray, pointing: np.ndarray
) -> dict[str, float]:
    """The figures of the instances of one split, as `flat_metrics` gives those of
    masks.

        map_25, map_50, map_75      mean of ap_25, ... over the classes with true
                                    instances
        ap_25/CLASS, ...            average precision at this IoU
        pointing                    mean over the classes with peaks
        pointing/CLASS              share of the peaks on a true instance of the class

    Args:
      prefix: split and kind of instance, such as "val/instances".
      class_names: the foreground classes.
      precision: `instance_precision`.
      pointing: summed `pointing_counts`.
    """
    accuracy = pointing_accuracy(pointing)
    figures = dict(zip(MEANS, class_mean(precision).tolist(), strict=True))
    figures["pointing"] = float(class_mean(accuracy[None])[0])
    for figure, values in zip((*APS, "pointing"), (*precision, accuracy), strict=True):
        for name, value in zip(class_names, values, strict=True):
            figures[f"{figure}/{name}"] = float(value)
    return {f"{prefix}/{name}": value for name, value in figures.items() if not math.isnan(value)}


def instance_table(metrics: Mapping[str, float], prefix: str, class_names: Sequence[str]) -> str:
    """AP at each IoU and pointing accuracy of every class in percent, as
    `per_class_table` shows the figures of masks.
    """
    titles = [*(f"AP {iou:.2f}" for iou in IOUS), "pointing"]
    columns = [
        (title, per_class(metrics, prefix, figure, class_names))
        for title, figure in zip(titles, (*APS, "pointing"), strict=True)
    ]
    means = [metrics.get(f"{prefix}/{figure}") for figure in (*MEANS, "pointing")]
    return _table(prefix, class_names, columns, means)


def _table(
    corner: str,
    names: Sequence[str],
    columns: Sequence[tuple[str, Mapping[str, float]]],
    means: Sequence[float | None],
) -> str:
    width = max(len(name) for name in (corner, *names))

    def line(name: str, values: Sequence[float | None]) -> str:
        return f"{name:<{width}}" + "".join(
            f"{'-' if value is None else f'{100 * value:.1f}':>11}" for value in values
        )

    rows = [line(name, [values.get(name) for _, values in columns]) for name in names]
    header = f"{corner:<{width}}" + "".join(f"{title:>11}" for title, _ in columns)
    return "\n".join([header, *rows, line("mean", means)])
