import pathlib

import numpy as np
import pytest

from hfpl_jax.defaults import default_config
from hfpl_jax.metrics.threshold_sweep import has_objects, sweep_counts
from hfpl_jax.stages import metrics
from hfpl_jax.stages.context import Context


def _threshold(config, counts):
    nowhere = pathlib.Path()
    return metrics._threshold(Context(config, nowhere, nowhere), counts)


def counts_of(truth):
    """The histogram of one photograph whose only class scores 0.40 in a corner."""
    cams = np.zeros((4, 4, 1), np.float32)
    cams[:2, :2] = 0.405
    truth = np.asarray(truth, np.uint8)
    return sweep_counts(cams, np.array([0]), truth, num_classes=2)


BACKGROUND = np.zeros((4, 4))
CORNER = np.pad(np.ones((2, 2)), ((0, 2), (0, 2)))


def test_the_threshold_is_the_best_where_masks_hold_objects():
    threshold, rule = _threshold(default_config(), {"train": counts_of(CORNER)})
    assert (threshold, rule) == (0.2, "best mIoU on the masks of training photographs")


@pytest.mark.parametrize("truth", [BACKGROUND, 255 * CORNER])
def test_masks_without_an_object_choose_no_threshold(truth):
    """The object as 255 would make the highest threshold the best."""
    assert not has_objects(counts_of(truth))
    assert _threshold(default_config(), {"train": counts_of(truth)}) == (
        0.25,
        "default, as no mask of a training photograph holds an object",
    )


def test_without_masks_the_threshold_is_the_default():
    assert _threshold(default_config(), {"val": counts_of(CORNER)}) == (
        0.25,
        "default, as no training photograph has a mask",
    )


def test_a_number_is_taken_as_it_is():
    config = default_config()
    config.labels.threshold = "0.4"
    assert _threshold(config, {"train": counts_of(CORNER)}) == (0.4, "given")
