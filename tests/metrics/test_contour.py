import math
import pathlib

import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.metrics.contour import (
    boundary,
    contour_counts,
    contour_f,
    contour_f_per_class,
    contour_f_present,
    tolerance_radius,
)

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "metrics.npz"


def by_definition(prediction, truth, num_classes):
    """Float64 distances between all pairs of contour pixels; the definition pixel by
    pixel.
    """
    height, width = truth.shape
    radius = math.ceil(0.008 * math.sqrt(height**2 + width**2))
    counts = np.zeros((num_classes - 1, 4), np.int64)
    for label in range(1, num_classes):
        points = []
        for labels in (prediction, truth):
            mask = labels == label
            on = [
                (y, x)
                for y in range(height)
                for x in range(width)
                if any(
                    y + v < height and x + u < width and mask[y, x] != mask[y + v, x + u]
                    for v, u in ((0, 1), (1, 0), (1, 1))
                )
            ]
            points.append(np.array(on, np.float64).reshape(-1, 2))
        distance = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(-1))
        near = distance <= radius
        counts[label - 1] = (
            near.any(axis=1).sum(),
            near.any(axis=0).sum(),
            len(points[0]),
            len(points[1]),
        )
    return counts


def test_published_program():
    golden = np.load(GOLDEN)
    total = 0
    for i in range(6):
        counts = contour_counts(golden[f"{i}_pred"], golden[f"{i}_gt"], num_classes=5)
        np.testing.assert_array_equal(
            counts[:, [1, 0, 3, 2]], golden[f"{i}_counts"]
        )  # there the truth comes first
        total = total + counts
    np.testing.assert_allclose(contour_f(total), golden["mean_f"], rtol=0, atol=1e-9)


# 1 pixel high and wide maps, a radius of 1, 2 and 3
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (12, 17), (90, 130), (260, 60)])
def test_definition(shape):
    rng = np.random.default_rng(sum(shape))
    coarse = rng.integers(0, 4, tuple(side // 8 + 1 for side in shape)).astype(np.uint8)
    truth = np.kron(coarse, np.ones((8, 8), np.uint8))[: shape[0], : shape[1]]
    prediction = np.where(
        rng.random(shape) < 0.01, rng.integers(0, 4, shape), np.roll(truth, (1, 2), (0, 1))
    ).astype(np.uint8)
    np.testing.assert_array_equal(
        contour_counts(prediction, truth, num_classes=4), by_definition(prediction, truth, 4)
    )


def test_boundary_lies_north_west_of_the_edge():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    expected = np.array([[0, 0, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(boundary(mask), expected)
    assert not boundary(np.ones((3, 3), bool)).any()


def test_tolerance():
    assert tolerance_radius(375, 500) == 5
    assert tolerance_radius(1, 1) == 1
    assert tolerance_radius(100, 100) == 2


def square(offset, size=200):
    labels = np.zeros((size, size), np.uint8)
    labels[50 : 50 + 40, 50 + offset : 50 + offset + 40] = 1
    return labels


def test_shift_within_and_beyond_the_tolerance():
    assert tolerance_radius(200, 200) == 3
    assert contour_f(contour_counts(square(0), square(0), num_classes=2)) == 1
    assert contour_f(contour_counts(square(3), square(0), num_classes=2)) == 1
    assert contour_f(contour_counts(square(4), square(0), num_classes=2)) < 1


def test_absent_classes():
    counts = contour_counts(square(0), square(0) * 2, num_classes=4)
    # class 1 only predicted, class 2 only true, class 3 in neither
    np.testing.assert_array_equal(contour_f_per_class(counts), [0, 0, 1])
    assert contour_f(counts) == pytest.approx(1 / 3)
    assert contour_f_present(counts) == 0
    empty = contour_counts(square(0) * 0, square(0) * 0, num_classes=3)
    assert contour_f(empty) == 1
    assert math.isnan(contour_f_present(empty))


def banded(labels, width):
    """A mask as VOC draws it: everything within `width` of the contour is 255."""
    out = labels.copy()
    for dy in range(-width, width + 1):
        for dx in range(-width, width + 1):
            out[np.roll(labels, (dy, dx), (0, 1)) != labels] = 255
    return out


def test_ignore_band():
    truth = banded(square(0), 6)
    published = contour_counts(square(0), truth, num_classes=2)
    assert contour_f(published) == 0  # the inner rim is 6 pixels away, more than the tolerance
    for offset in (0, 4, -5):
        inside = contour_counts(square(offset), truth, num_classes=2, ignoring_255=True)
        assert contour_f(inside) == 1
        np.testing.assert_array_equal(inside[:, 2], published[:, 2])
    missed = contour_counts(square(15), truth, num_classes=2, ignoring_255=True)
    assert 0.2 < contour_f(missed) < 0.8  # the upper and lower sides still run inside the band
    nothing = contour_counts(square(0) * 0, truth, num_classes=2, ignoring_255=True)
    assert contour_f(nothing) == 0
    assert nothing[0, 3] > 0


def test_variant_without_255_is_the_same_metric():
    golden = np.load(GOLDEN)
    prediction, truth = golden["0_pred"], np.where(golden["0_gt"] == 255, 0, golden["0_gt"])
    plain, variant = (
        contour_counts(prediction, truth, num_classes=5, ignoring_255=flag)
        for flag in (False, True)
    )
    np.testing.assert_array_equal(plain, variant)


def test_all_ignored_and_abstained():
    blank = np.full((20, 20), 255, np.uint8)
    assert contour_counts(blank, blank, num_classes=3).sum() == 0
    assert contour_counts(blank, blank, num_classes=3, ignoring_255=True).sum() == 0
    counts = contour_counts(square(0), np.full((200, 200), 255, np.uint8), num_classes=2)
    assert counts[0, 3] == 0
    assert contour_f(counts) == 0


def test_label_outside_the_classes():
    with pytest.raises(InputError, match="prediction holds the labels"):
        contour_counts(square(0) * 7, square(0), num_classes=2)
