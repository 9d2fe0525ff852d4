"""A training step of plain CAM whose features are cut as in DRS, and one without."""

import functools

from experiments.benchmark.side import Side
from experiments.benchmark.step import step

_step = functools.partial(step, frozen_batch_norm=True, freeze_stages=0)


def ours(backbone: str, crop: int, batch: int) -> Side:
    return _step("cam", backbone, crop, batch, suppression="1.0")


def plain(backbone: str, crop: int, batch: int) -> Side:
    return _step("cam", backbone, crop, batch)
