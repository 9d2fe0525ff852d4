import json

import numpy as np
import pytest
from scored_photographs import Photographs, context, write

from hfpl_jax.inference.cam_record import encode_maps
from hfpl_jax.stages import metrics
from hfpl_jax.stages.metrics import read_metrics, read_sweep

HALF = [[0, 0, 0], [1, 1, 1]]


def run(workdir, masks, strengths, **fields):
    """metrics.json of one photograph a mask; its CAM has `strengths` row by row."""
    photographs = Photographs(train=masks)
    cam = np.repeat(np.array(strengths, np.float32)[:, None, None], 3, axis=1)
    maps = {"classes": [0], "cams": encode_maps(cam)}
    write(workdir, "cams", photographs, "train", lambda index: maps)
    facts = metrics.run(context(workdir, "metrics", photographs, **fields))
    written = json.loads((workdir / "metrics" / "metrics.json").read_text())
    assert facts == written == read_metrics(workdir / "metrics")
    return written


@pytest.mark.parametrize(("weak", "threshold"), [(0.2, 0.59), (0.6, 0.79), (0.95, 0.97)])
def test_the_best_threshold_of_the_whole_sweep(tmp_path, weak, threshold):
    """The middle of those from the weak half's CAM to 0.99."""
    found = run(tmp_path, [HALF, HALF], (weak, 1.0))
    assert found["threshold"] == threshold
    assert found["threshold_rule"] == "best mIoU on the masks of training photographs"
    assert found["train/cam/miou"] == found["train/cam/miou_at_own_best_threshold"] == 1.0
    assert found["train/cam/miou_all_background"] == 0.25
    assert found["notices"] == []
    thresholds, curve = read_sweep(tmp_path / "metrics")["train"]
    assert thresholds == [index / 100 for index in range(100)]
    assert curve[0] == 0.25  # all is cat
    assert curve[round(100 * threshold)] == curve[-1] == 1.0


def test_a_threshold_at_the_low_end_is_noticed(tmp_path):
    found = run(tmp_path, [[[1, 1, 1], [1, 1, 1]]], (1 / 255, 1.0))
    assert found["threshold"] == 0.0
    (notice,) = found["notices"]
    assert notice.startswith("The background threshold is 0.00, the lowest there is")


def test_a_low_end_that_is_no_better_than_what_follows_is_not(tmp_path):
    """As good from 0.00 to 0.19: no evidence that the CAMs hold no background."""
    found = run(tmp_path, [[[1, 1, 1], [1, 1, 1]]], (0.2, 1.0))
    assert found["threshold"] == 0.1
    assert found["notices"] == []


def test_a_threshold_at_the_high_end_is_noticed(tmp_path):
    found = run(tmp_path, [HALF], (252 / 255, 1.0))
    assert found["threshold"] == 0.99
    (notice,) = found["notices"]
    assert notice.startswith("The background threshold is 0.99, the highest that is tried")


def test_cams_that_are_worth_nothing_are_noticed(tmp_path):
    found = run(tmp_path, [HALF], (1.0, 0.0), labels__threshold="0.5")
    assert found["train/cam/miou"] == 0.0
    (notice,) = found["notices"]
    assert notice.startswith("The mIoU of the CAMs is 0.0 % on train, not above 25.0 %")


@pytest.mark.parametrize(
    ("score_split", "rule"),
    [
        ("", "default, as no training photograph has a mask"),
        ("train", "default, as no photograph of train has a mask"),
    ],
)
def test_without_masks_the_rule_says_which_ones_are_missing(tmp_path, score_split, rule):
    found = run(tmp_path, [None, None], (0.2, 1.0), data__score_split=score_split)
    assert found == {
        "threshold": 0.25,
        "class_cut": 0.25,  # the middle of 0.00 to 0.50: all are right
        "class_cut_f1": 1.0,
        "threshold_rule": rule,
        "image_labels": "given image labels",
        "notices": [],
    }
