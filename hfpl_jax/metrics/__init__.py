"""Measures of label maps: sums of each image are added, figures are read off the sums
at the very end.
"""

from hfpl_jax.metrics.confusion import (
    all_background,
    confusion_matrix,
    iou_per_class,
    mean_iou,
)
from hfpl_jax.metrics.contour import (
    contour_counts,
    contour_f,
    contour_f_per_class,
    contour_f_present,
)
from hfpl_jax.metrics.tables import flat_metrics, per_class, per_class_table
from hfpl_jax.metrics.threshold_sweep import (
    THRESHOLDS,
    best_threshold,
    confusions,
    sweep_counts,
)

__all__ = [
    "THRESHOLDS",
    "all_background",
    "best_threshold",
    "confusion_matrix",
    "confusions",
    "contour_counts",
    "contour_f",
    "contour_f_per_class",
    "contour_f_present",
    "flat_metrics",
    "iou_per_class",
    "mean_iou",
    "per_class",
    "per_class_table",
    "sweep_counts",
]
