import json

import numpy as np
import pytest

from hfpl_jax.metrics.tables import (
    flat_metrics,
    instance_metrics,
    instance_table,
    per_class,
    per_class_table,
)

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


def test_figures_of_instances():
    precision = np.array([[0.5, 1.0, np.nan], [0.25, 0.5, np.nan], [0.0, 0.0, np.nan]])
    pointing = np.array([[3, 4], [0, 0], [0, 2]])
    found = instance_metrics("val/instances", NAMES, precision=precision, pointing=pointing)
    assert found == {
        "val/instances/map_25": 0.75,
        "val/instances/map_50": 0.375,
        "val/instances/map_75": 0.0,
        "val/instances/pointing": 0.375,
        "val/instances/ap_25/cat": 0.5,
        "val/instances/ap_25/dog": 1.0,
        "val/instances/ap_50/cat": 0.25,
        "val/instances/ap_50/dog": 0.5,
        "val/instances/ap_75/cat": 0.0,
        "val/instances/ap_75/dog": 0.0,
        "val/instances/pointing/cat": 0.75,
        "val/instances/pointing/sofa": 0.0,
    }
    json.dumps(found, allow_nan=False)
    assert instance_table(found, "val/instances", NAMES).splitlines() == [
        "val/instances    AP 0.25    AP 0.50    AP 0.75   pointing",
        "cat                 50.0       25.0        0.0       75.0",
        "dog                100.0       50.0        0.0          -",
        "sofa                   -          -          -        0.0",
        "mean                75.0       37.5        0.0       37.5",
    ]


@pytest.mark.filterwarnings("error")
def test_no_instances_at_all_are_no_figures():
    nothing = {"precision": np.full((3, 3), np.nan), "pointing": np.zeros((3, 2), np.int64)}
    found = instance_metrics("val/instances", NAMES, **nothing)
    assert found == {}
    assert instance_table(found, "val/instances", NAMES).splitlines()[-1].split() == [
        "mean",
        *"----",
    ]
