import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.inference.pseudo_labels import confidence, pseudo_label

STRENGTHS = [0.0, 0.2, 0.3, 0.4, 0.5, 1.0]


def ramp():
    """One row: class 2 with growing strength, class 5 stronger by far in the last
    pixel.
    """
    cams = np.zeros((1, 7, 2), np.float32)
    cams[0, :6, 0] = STRENGTHS
    cams[0, 6] = [0.6, 0.9]
    return cams, np.array([2, 5])


def test_threshold_ties_go_to_the_background():
    cams, classes = ramp()
    np.testing.assert_array_equal(
        pseudo_label(cams, classes, threshold=0.3), [[0, 0, 0, 3, 3, 3, 6]]
    )
    np.testing.assert_array_equal(
        pseudo_label(cams, classes, threshold=0.0), [[0, 3, 3, 3, 3, 3, 6]]
    )


def test_ignore_band_is_open_below_and_closed_above():
    cams, classes = ramp()
    labels = pseudo_label(cams, classes, threshold=0.3, ignore_band=(0.2, 0.4))
    np.testing.assert_array_equal(labels, [[0, 0, 255, 255, 3, 3, 6]])
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(
        pseudo_label(cams, classes, threshold=0.3, ignore_band=(0.3, 0.3)),
        pseudo_label(cams, classes, threshold=0.3),
    )


@pytest.mark.parametrize("band", [(0.4, 0.6), (0.1, 0.2), (0.4, 0.2)])
def test_band_without_the_threshold_is_an_error(band):
    with pytest.raises(
        InputError, match=r"config\.refine\.threshold\.ignore_band.*0\.3.*low <= threshold <= high"
    ):
        pseudo_label(*ramp(), threshold=0.3, ignore_band=band)


def test_no_class_is_all_background():
    cams, classes = np.zeros((2, 3, 0), np.float32), np.zeros(0, np.int64)
    assert not pseudo_label(cams, classes, threshold=0.3, ignore_band=(0.1, 0.5)).any()
    assert (confidence(cams, threshold=0.3) == 255).all()


def test_confidence():
    expected = [1.0, 1 / 3, 0.0, 1 / 7, 2 / 7, 1.0, 6 / 7]
    np.testing.assert_array_equal(
        confidence(ramp()[0], threshold=0.3), [np.rint(255 * np.array(expected))]
    )
    np.testing.assert_array_equal(confidence(ramp()[0], threshold=0.0)[0, :2], [255, 51])
    assert (
        confidence(np.full((2, 2, 1), -1.0, np.float32), threshold=0.4) == 255
    ).all()  # a class without evidence


def test_confidence_grows_away_from_the_threshold():
    strength = np.linspace(0, 1, 1001, dtype=np.float32)[None, :, None]
    for threshold in (0.1, 0.25, 0.59):
        sure = confidence(strength, threshold=threshold)[0].astype(int)
        foreground = strength[0, :, 0] > np.float32(threshold)
        assert (np.diff(sure[foreground]) >= 0).all()
        assert (np.diff(sure[~foreground]) <= 0).all()
        assert sure.min() == 0
        assert sure[0] == sure[-1] == 255
