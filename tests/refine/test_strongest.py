"""What the device makes of scores is what the host makes of them."""

import numpy as np

from hfpl_jax.refine.refiner import most_probable
from hfpl_jax.refine.strongest import strongest


def test_each_photograph_gets_the_masks_of_the_host():
    rng = np.random.default_rng(0)
    classes = np.array([[4, 7, 9], [2, 5, -1], [-1, -1, -1]], np.int32)
    scores = rng.random((3, 6, 5, 4), np.float32)
    mask, confidence = strongest(scores, classes)
    assert mask.dtype == confidence.dtype == np.uint8
    for row, count in enumerate((3, 2, 0)):
        own = scores[row, ..., : 1 + count]
        expected = most_probable(own / own.sum(axis=-1, keepdims=True), classes[row, :count])
        np.testing.assert_array_equal(mask[row], expected.mask)
        assert np.abs(confidence[row].astype(int) - expected.confidence).max() <= 1
    assert set(np.unique(mask[0])) == {0, 5, 8, 10}


def test_the_first_of_equals_wins_without_confidence():
    mask, confidence = strongest(np.full((1, 1, 1, 3), 0.2, np.float32), np.array([[0, 1]]))
    assert (int(mask[0, 0, 0]), int(confidence[0, 0, 0])) == (0, 0)


def test_where_no_photograph_has_a_class_all_is_background():
    mask, confidence = strongest(np.ones((2, 3, 3, 1), np.float32), np.zeros((2, 0), np.int32))
    assert not mask.any()
    assert (confidence == 255).all()
