import pathlib

import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.metrics.confusion import (
    all_background,
    confusion_matrix,
    iou_per_class,
    mean_iou,
)

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "metrics.npz"


def test_published_program():
    golden = np.load(GOLDEN)
    total = sum(
        confusion_matrix(golden[f"{i}_pred"], golden[f"{i}_gt"], num_classes=5) for i in range(6)
    )
    np.testing.assert_array_equal(total, golden["confusion"])
    np.testing.assert_allclose(mean_iou(total), golden["miou"], rtol=1e-9)


def test_counted_by_hand():
    prediction = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)
    truth = np.array([[0, 1, 1], [255, 2, 2]], np.uint8)
    matrix = confusion_matrix(prediction, truth, num_classes=4)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(iou_per_class(matrix), [1 / 2, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(mean_iou(matrix), 2 / 3)


def test_a_class_only_predicted_counts_zero_and_an_absent_one_not_at_all():
    matrix = confusion_matrix(
        np.array([[0, 2]], np.uint8), np.array([[0, 0]], np.uint8), num_classes=3
    )
    np.testing.assert_array_equal(iou_per_class(matrix), [0.5, np.nan, 0])
    assert mean_iou(matrix) == 0.25


def test_everything_labelled_as_background():
    prediction = np.array([[0, 0, 1, 3], [1, 2, 255, 3]], np.uint8)
    truth = np.array([[0, 1, 1, 0], [255, 2, 2, 0]], np.uint8)
    matrix = confusion_matrix(prediction, truth, num_classes=4)
    decided = np.where((truth == 255) | (prediction == 255), 255, 0).astype(np.uint8)
    expected = confusion_matrix(decided, truth, num_classes=4)
    np.testing.assert_array_equal(all_background(matrix), expected)
    # 3 of 6 pixels are background; cat and dog are in the truth and found nowhere.
    np.testing.assert_array_equal(iou_per_class(all_background(matrix)), [0.5, 0, 0, np.nan])
    assert mean_iou(all_background(matrix)) == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (0, 5)])
def test_nothing_to_count(shape):
    matrix = confusion_matrix(
        np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), num_classes=3
    )
    assert matrix.sum() == 0
    assert np.isnan(mean_iou(matrix))


def test_means_of_a_stack_are_those_of_its_matrices():
    stack = np.random.default_rng(0).integers(0, 9, (7, 4, 4))
    stack[2] = 0
    np.testing.assert_array_equal(mean_iou(stack), [mean_iou(matrix) for matrix in stack])


@pytest.mark.parametrize(("which", "label"), [("prediction", 3), ("true mask", 254)])
def test_label_outside_the_classes(which, label):
    maps = {"prediction": np.zeros((2, 2), np.uint8), "true mask": np.zeros((2, 2), np.uint8)}
    maps[which][1, 1] = label
    with pytest.raises(InputError, match=rf"{which} holds the labels \[{label}\]"):
        confusion_matrix(*maps.values(), num_classes=3)


def test_maps_of_different_sizes_are_refused():
    with pytest.raises(Exception, match="truth"):
        confusion_matrix(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), num_classes=2)
