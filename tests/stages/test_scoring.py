import json

import numpy as np
from scored_photographs import Photographs, context, write

from hfpl_jax.data.dataset import encode_mask
from hfpl_jax.stages.scoring import score_masks

PHOTOGRAPHS = Photographs(train=[[[0, 0, 0], [1, 1, 1]], [[0, 0, 0], [0, 0, 1]], None])


def scored(workdir, rows):
    """metrics.json of masks that are the cat in those rows."""
    mask = np.zeros((2, 3), np.uint8)
    mask[rows] = 1
    write(workdir, "crf", PHOTOGRAPHS, "train", lambda index: {"mask": encode_mask(mask)})
    masks = "masks of the CRF", "Look at the report."  # of a stage that a refiner adds
    facts = score_masks(context(workdir, "crf", PHOTOGRAPHS), "crf", masks)
    assert facts == json.loads((workdir / "crf" / "metrics.json").read_text())
    return facts


def test_figures_of_the_photographs_that_have_masks(tmp_path):
    figures = scored(tmp_path, [1])
    assert figures["train/crf/iou/background"] == 6 / 8
    assert figures["train/crf/iou/cat"] == 4 / 6
    assert figures["train/crf/miou"] == (6 / 8 + 4 / 6) / 2
    assert figures["train/crf/miou_all_background"] == 8 / 12 / 2
    assert figures["notices"] == []


def test_masks_of_background_alone_are_noticed(tmp_path):
    figures = scored(tmp_path, [])
    assert figures["train/crf/miou"] == figures["train/crf/miou_all_background"] == 1 / 3
    (notice,) = figures["notices"]
    assert notice.startswith("The mIoU of the masks of the CRF is 33.3 % on train, not above 33.3")
    assert notice.endswith("they are worth nothing. Look at the report.")
