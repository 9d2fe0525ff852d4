import json

import numpy as np
import pytest

from hfpl_jax.metrics.tables import flat_metrics, per_class, per_class_table

NAMES = ("cat", "dog", "sofa")


@pytest.fixture
def metrics():
    confusion = np.zeros((4, 4), np.int64)
    confusion[0, 0], confusion[1, 1], confusion[2, 2], confusion[1, 0] = 90, 30, 10, 10
    contours = np.array([[10, 10, 20, 20], [5, 5, 5, 5], [0, 0, 0, 0]])
    relaxed = np.array([[20, 20, 20, 20], [5, 5, 5, 5], [0, 0, 0, 0]])
    return flat_metrics(
        "val/cam", NAMES, confusion=confusion, contours=contours, contours_ignoring_255=relaxed
    )


def test_names_and_values(metrics):
    expected = {
        "val/cam/miou": (0.9 + 0.75 + 1) / 3,
        "val/cam/miou_all_background": 90 / 140 / 3,
        "val/cam/contour_f": (0.5 + 1 + 1) / 3,
        "val/cam/contour_f_present": 0.75,
        "val/cam/contour_f_ignoring_255": 1.0,
        "val/cam/iou/background": 0.9,
        "val/cam/iou/cat": 0.75,
        "val/cam/iou/dog": 1.0,
        "val/cam/contour_f/cat": 0.5,
        "val/cam/contour_f/dog": 1.0,
    }
    assert metrics == pytest.approx(expected)
    assert all(type(value) is float for value in metrics.values())
    json.dumps(metrics, allow_nan=False)


def test_per_class(metrics):
    assert list(per_class(metrics, "val/cam", "iou", NAMES)) == ["background", "cat", "dog"]
    assert per_class(metrics, "val/cam", "contour_f", NAMES) == {"cat": 0.5, "dog": 1.0}


def test_table(metrics):
    assert per_class_table(metrics, "val/cam", NAMES).splitlines() == [
        "val/cam           IoU  contour F",
        "background       90.0          -",
        "cat              75.0       50.0",
        "dog             100.0      100.0",
        "sofa                -          -",
        "mean             88.3       75.0",
    ]


def test_nothing_counted():
    zeros = np.zeros((3, 4), np.int64)
    metrics = flat_metrics(
        "a",
        NAMES,
        confusion=np.zeros((4, 4), np.int64),
        contours=zeros,
        contours_ignoring_255=zeros,
    )
    assert metrics == {"a/contour_f": 1.0}  # as published: absent everywhere scores 1
    assert "mean" in per_class_table(metrics, "a", NAMES)
