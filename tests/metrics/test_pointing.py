import numpy as np

from hfpl_jax.instance import Instance, encode_rle
from hfpl_jax.metrics.pointing import pointing_accuracy, pointing_counts


def region(rows, columns):
    values = np.zeros((10, 20), bool)
    values[rows, columns] = True
    return encode_rle(values)


CORNER = region(slice(0, 4), slice(0, 6))


def peak(row, column, label=0):
    return Instance(label, CORNER, score=0.5, peak=(row, column))


def test_peaks_on_a_true_instance_of_their_class():
    """Its last pixel counts, and not the next; two peaks on one instance both do; of
    two overlapping ones either does.
    """
    true = [Instance(0, CORNER), Instance(0, region(3, slice(0, 20))), Instance(2, CORNER)]
    found = [peak(3, 5), peak(0, 0), peak(2, 6), peak(3, 19), peak(4, 5)]
    found += [peak(0, 0, 1), peak(0, 0, 2), peak(9, 19, 2), Instance(2, CORNER, score=0.5)]
    counts = pointing_counts(true, found, num_classes=4)
    np.testing.assert_array_equal(counts, [[3, 5], [0, 1], [1, 2], [0, 0]])
    np.testing.assert_array_equal(pointing_accuracy(counts), [3 / 5, 0, 1 / 2, np.nan])


def test_a_crowd_is_a_thing_of_its_class():
    crowd = Instance(0, CORNER, crowd=True)
    np.testing.assert_array_equal(pointing_counts([crowd], [peak(1, 1)], num_classes=1), [[1, 1]])


def test_nothing_found_or_nothing_there():
    np.testing.assert_array_equal(
        pointing_counts([Instance(0, CORNER)], [], num_classes=1), [[0, 0]]
    )
    np.testing.assert_array_equal(pointing_counts([], [peak(0, 0)], num_classes=1), [[0, 1]])
