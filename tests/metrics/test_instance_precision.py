"""COCO's average precision of instances, against values computed by hand."""

import numpy as np
import pytest

from hfpl_jax.instance import Instance, encode_rle
from hfpl_jax.metrics.instance_precision import class_mean, instance_precision

NAN = np.nan


def box(left, right, label=0, **fields):
    """Columns `left` to `right` of a photograph of 4 x 200 pixels."""
    region = np.zeros((4, 200), bool)
    region[:, left:right] = True
    return Instance(label, encode_rle(region), **fields)


def of(*photographs, num_classes=1):
    named = {f"{index}.jpg": each for index, each in enumerate(photographs)}
    return instance_precision(named, num_classes=num_classes)


def test_by_hand():
    """Four found of three true ones: an exact one, one of IoU 6/10, one of nothing, one
    of IoU 1/3, in the order of their scores. Of the 101 recalls 34 are at most 1/3, and
    67 at most 2/3.
    """
    first = [box(0, 10), box(20, 30)], [box(20, 26, score=0.8), box(0, 10, score=0.9)]
    second = [box(0, 30)], [box(0, 10, score=0.6), box(90, 99, score=0.7)]
    found = of(first, second)
    at_25 = (67 * 1 + 34 * 3 / 4) / 101  # right, right, wrong, right
    np.testing.assert_allclose(found[:, 0], [at_25, 67 / 101, 34 / 101], rtol=1e-12)


def test_a_wrong_one_before_a_right_one_halves_the_precision():
    true, wrong, right = box(0, 10), box(50, 60, score=0.9), box(0, 10, score=0.8)
    np.testing.assert_allclose(of(([true], [wrong, right])), 0.5, rtol=1e-12)
    # Whichever photograph it is in
    np.testing.assert_allclose(of(([], [wrong]), ([true], [right])), 0.5, rtol=1e-12)


def test_a_true_instance_is_found_once():
    """By the surer one, though another overlaps it more; an overlap at the bound counts."""
    true, half, exact = box(0, 10), box(0, 5, score=0.9), box(0, 10, score=0.8)
    np.testing.assert_allclose(of(([true], [half, exact]))[:, 0], [1, 1, 0.5], rtol=1e-12)


def test_each_takes_the_true_instance_that_it_overlaps_most():
    true = [box(0, 10), box(6, 16)]
    found = [box(5, 15, score=0.9), box(0, 10, score=0.8)]  # IoU 1/3 and 9/11; 1 and 1/4
    np.testing.assert_allclose(of((true, found)), 1.0, rtol=1e-12)


def test_what_lies_on_a_crowd_is_not_counted():
    crowd = box(50, 100, crowd=True)
    on_it = [box(60, 70, score=0.9), box(70, 80, score=0.8)]
    np.testing.assert_allclose(
        of(([box(0, 10), crowd], [*on_it, box(0, 10, score=0.1)])), 1.0, rtol=1e-12
    )
    # A crowd of another class does not forgive
    other = box(50, 100, 1, crowd=True)
    np.testing.assert_allclose(
        of(([box(0, 10), other], [*on_it, box(0, 10, score=0.1)]), num_classes=2)[:, 0],
        1 / 3,
        rtol=1e-12,
    )


def test_classes_are_apart_and_absent_ones_have_no_precision():
    true = [box(0, 10), box(20, 30, 1), box(40, 50, 3, crowd=True)]
    found = [box(0, 10, score=0.5), box(20, 30, 0, score=0.9), box(0, 10, 2, score=0.9)]
    precision = of((true, found), num_classes=5)
    # Found behind a wrong one; not found; found but never there; a crowd only; nothing
    np.testing.assert_allclose(precision, [[0.5, 0.0, NAN, NAN, NAN]] * 3, rtol=1e-12)
    np.testing.assert_allclose(class_mean(precision), [0.25] * 3, rtol=1e-12)


@pytest.mark.parametrize(
    "photographs",
    [(), (([], []),), (([], [box(0, 10, score=0.5)]),), (([box(0, 9, crowd=True)], []),)],
)
def test_without_true_instances_there_is_no_precision(photographs):
    precision = of(*photographs, num_classes=2)
    np.testing.assert_array_equal(precision, np.full((3, 2), NAN))
    np.testing.assert_array_equal(class_mean(precision), [NAN] * 3)


def test_nothing_found_is_0():
    np.testing.assert_array_equal(of(([box(0, 10)], [])), np.zeros((3, 1)))


def test_all_that_are_found_count():
    """Beyond the hundred of a photograph at which COCO's program stops by itself."""
    wrong = [box(50, 60, score=1 - index / 1000) for index in range(149)]
    found = of(([box(0, 10)], [*wrong, box(0, 10, score=0.1)]))
    np.testing.assert_allclose(found, 1 / 150, rtol=1e-12)


def test_nothing_is_printed_and_the_instances_stay_as_they_are(capsys):
    true, found = box(0, 10), box(0, 10, score=0.5)
    of(([true], [found]))
    assert capsys.readouterr() == ("", "")
    assert (true, found) == (box(0, 10), box(0, 10, score=0.5))
