"""Measures of label maps and of instances. But for the precision of instances, sums of
each image are added, and figures are read off the sums at the very end.
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
from hfpl_jax.metrics.instance_precision import IOUS, class_mean, instance_precision
from hfpl_jax.metrics.pointing import pointing_accuracy, pointing_counts
from hfpl_jax.metrics.tables import (
    flat_metrics,
    instance_metrics,
    instance_table,
    per_class,
    per_class_table,
)
from hfpl_jax.metrics.threshold_sweep import (
    THRESHOLDS,
    best_threshold,
    confusions,
    sweep_counts,
)

__all__ = [
    "IOUS",
    "THRESHOLDS",
    "all_background",
    "best_threshold",
    "class_mean",
    "confusion_matrix",
    "confusions",
    "contour_counts",
    "contour_f",
    "contour_f_per_class",
    "contour_f_present",
    "flat_metrics",
    "instance_metrics",
    "instance_precision",
    "instance_table",
    "iou_per_class",
    "mean_iou",
    "per_class",
    "per_class_table",
    "pointing_accuracy",
    "pointing_counts",
    "sweep_counts",
]
