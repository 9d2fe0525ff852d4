"""A training step of PuzzleCAM, which looks at every pixel twice, and one of plain CAM,
both with batch normalisation by the batch's statistics.
"""

import functools

from experiments.benchmark.side import Side
from experiments.benchmark.step import step

_step = functools.partial(step, frozen_batch_norm=False, freeze_stages=0)


def ours(backbone: str, crop: int, batch: int) -> Side:
    return _step("puzzle", backbone, crop, batch)


def cam(backbone: str, crop: int, batch: int) -> Side:
    return _step("cam", backbone, crop, batch)
