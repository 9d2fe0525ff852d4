import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.masks import label_map
from hfpl_jax.metrics.confusion import confusion_matrix, mean_iou
from hfpl_jax.metrics.threshold_sweep import (
    THRESHOLDS,
    best_threshold,
    confusions,
    sweep_counts,
)

NUM_CLASSES = 6


def published_labels(cams, classes, threshold):
    scores = np.zeros((NUM_CLASSES, *cams.shape[:2]), np.float32)
    for i, label in enumerate(classes):
        scores[label + 1] = cams[..., i]
    scores[0] = threshold
    return np.argmax(scores, axis=0).astype(np.uint8)


def scene(seed, num_present, *, levels=None):
    rng = np.random.default_rng(seed)
    cams = rng.random((23, 31, num_present), dtype=np.float32)
    if levels:
        cams = (np.floor(cams * levels) / np.float32(levels)).astype(np.float32)
    classes = np.sort(rng.choice(NUM_CLASSES - 1, num_present, replace=False))
    truth = rng.integers(0, NUM_CLASSES, (23, 31)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.1] = 255
    return cams, classes, truth


# With 100 levels every value is a threshold and neighbouring classes tie often; 255
# levels are stored 8-bit CAMs.
@pytest.mark.parametrize("levels", [None, 100, 255, 4])
@pytest.mark.parametrize("num_present", [0, 1, 2, 5])
def test_one_pass_equals_a_hundred_evaluations(levels, num_present):
    scenes = [scene(seed, num_present, levels=levels) for seed in range(3)]
    matrices = confusions(sum(sweep_counts(*each, num_classes=NUM_CLASSES) for each in scenes))
    assert matrices.shape == (100, NUM_CLASSES, NUM_CLASSES)
    assert matrices.dtype == np.int64
    for threshold, matrix in zip(THRESHOLDS, matrices, strict=True):
        expected = 0
        for cams, classes, truth in scenes:
            labels = published_labels(cams, classes, threshold)
            np.testing.assert_array_equal(label_map(cams, classes, threshold=threshold), labels)
            expected = expected + confusion_matrix(labels, truth, num_classes=NUM_CLASSES)
        np.testing.assert_array_equal(matrix, expected)


def test_values_on_and_beside_every_threshold():
    on = np.asarray(THRESHOLDS, np.float32)
    beside = np.nextafter(on, np.float32(-1)), np.nextafter(on, np.float32(2))
    values = np.concatenate([[-1, -0.005], *beside, on, [1.0]]).astype(np.float32)
    counts = sweep_counts(
        values[:, None, None], np.array([0]), np.zeros((len(values), 1), np.uint8), num_classes=2
    )
    expected = np.searchsorted(on, values, side="left")  # thresholds strictly below
    np.testing.assert_array_equal(counts[0, 1], np.bincount(expected, minlength=101))


def test_thresholds_are_hundredths():
    assert THRESHOLDS[0] == 0.0
    assert THRESHOLDS[29] == 0.29
    assert THRESHOLDS[-1] == 0.99
    assert len(THRESHOLDS) == 100


def test_a_class_without_any_activation_is_background():
    cams, truth = np.full((2, 2, 1), -1, np.float32), np.zeros((2, 2), np.uint8)
    matrices = confusions(sweep_counts(cams, np.array([0]), truth, num_classes=2))
    assert (matrices[:, 0, 0] == 4).all()
    assert matrices.sum() == 100 * 4


def test_best_threshold():
    cams = np.array([[[0.1], [0.35], [0.8]]], np.float32)
    truth = np.array([[0, 0, 1]], np.uint8)
    matrices = confusions(sweep_counts(cams, np.array([0]), truth, num_classes=2))
    # the middle pixel ties with the threshold 0.35 and becomes background: from there
    # to 0.79 all is right
    assert best_threshold(matrices) == (0.57, 1.0)
    np.testing.assert_allclose(mean_iou(matrices)[0], 1 / 6)


@pytest.mark.parametrize(
    ("weak", "strong", "threshold"),
    [
        (0.57, 1.0, 0.78),  # as good from 0.57 to 0.99
        (0.975, 1.0, 0.98),  # at 0.98 and 0.99
        (0.985, 1.0, 0.99),  # there alone
        (-1.0, 0.205, 0.10),  # from 0.00 to 0.20
        (-1.0, 0.015, 0.01),  # at 0.00 and 0.01
        (-1.0, 0.005, 0.00),  # there alone
    ],
)
def test_of_equal_thresholds_the_middle_one_is_the_best(weak, strong, threshold):
    """An end of the sweep where nothing inside is as good."""
    cams = np.array([[[-1.0], [weak], [strong]]], np.float32)
    truth = np.array([[0, 0, 1]], np.uint8)
    matrices = confusions(sweep_counts(cams, np.array([0]), truth, num_classes=2))
    assert best_threshold(matrices) == (threshold, 1.0)


def test_no_mask_no_threshold():
    counts = sweep_counts(
        np.ones((2, 2, 1), np.float32), np.array([0]), np.full((2, 2), 255, np.uint8), num_classes=2
    )
    with pytest.raises(InputError, match="Give the threshold as a number"):
        best_threshold(confusions(counts))
    with pytest.raises(InputError, match="true mask holds the labels"):
        sweep_counts(
            np.ones((2, 2, 1), np.float32),
            np.array([0]),
            np.full((2, 2), 9, np.uint8),
            num_classes=2,
        )
