"""Walks over a stage's records, and scores label maps."""

import json
import logging
from collections.abc import Iterator

import numpy as np

from hfpl_jax.data.dataset import Example, decode_mask
from hfpl_jax.data.index import entries_of
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.metrics.confusion import confusion_matrix
from hfpl_jax.metrics.contour import contour_counts
from hfpl_jax.metrics.tables import flat_metrics, per_class_table
from hfpl_jax.runtime import atomic, distributed
from hfpl_jax.runtime.progress import track
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.notices import NOTICES, background_notices
from hfpl_jax.stages.pairs import Pairs

_LOG = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"


def stage_records(
    context: Context, stage: str, split: str, description: str
) -> Iterator[tuple[dict, Example]]:
    """This process's share of what `stage` made for `split`, each record with its
    photograph, behind a progress bar.

    Raises:
      InputError: see `Pairs`.
    """
    pairs = Pairs(context, stage, split)
    positions = distributed.share(range(len(pairs)))
    return track(
        (pairs[position] for position in positions), f"{description} {split}", len(positions)
    )


def cam_records(
    context: Context, split: str, description: str
) -> Iterator[tuple[CamRecord, Example]]:
    """`stage_records` of the CAMs, decoded."""
    for record, example in stage_records(context, "cams", split, description):
        yield CamRecord.decode(record), example


def scored_names(context: Context, role: str) -> set[str] | None:
    """Of the photographs labelled, those that count as "train": the ones of
    `config.data.score_split`; None for all of them.
    """
    if role != "train" or not context.config.data.score_split:
        return None
    scored = entries_of(context.dataset.split(context.config.data.score_split))
    return {entry.file_name for entry in scored}


class Score:
    """Sums over label maps and their true masks, and the figures they give."""

    def __init__(self, class_names: tuple[str, ...]):
        self._class_names, k = class_names, len(class_names) + 1
        self._confusion = np.zeros((k, k), np.int64)
        self._contours, self._lenient = (
            np.zeros((k - 1, 4), np.int64),
            np.zeros((k - 1, 4), np.int64),
        )

    def add(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        k = len(self._class_names) + 1
        self._confusion += confusion_matrix(prediction, truth, num_classes=k)
        self._contours += contour_counts(prediction, truth, num_classes=k)
        self._lenient += contour_counts(prediction, truth, num_classes=k, ignoring_255=True)

    def figures(self, prefix: str) -> dict[str, float]:
        """`flat_metrics` of what all processes added together; empty if that is
        nothing.
        """
        confusion, contours, lenient = (
            distributed.total(counts) for counts in (self._confusion, self._contours, self._lenient)
        )
        if not confusion.any():
            return {}
        return flat_metrics(
            prefix,
            self._class_names,
            confusion=confusion,
            contours=contours,
            contours_ignoring_255=lenient,
        )


def score_masks(context: Context, kind: str, masks: tuple[str, str] | None = None) -> dict:
    """Scores the masks in the stage's own records, prints the tables and writes
    metrics.json with `{role}/{kind}/{figure}` and the notices they call for; for
    `masks` see `background_notices`.
    """
    distributed.meet()  # all records are there
    metrics: dict = {}
    for role, split in context.roles.items():
        score, chosen = Score(context.dataset.class_names), scored_names(context, role)
        if not (context.folder / split).is_dir():
            continue
        for record, example in stage_records(context, context.folder.name, split, "scoring"):
            if example.segmentation_mask is not None and (
                chosen is None or example.file_name in chosen
            ):
                score.add(
                    decode_mask(record["mask"], example.file_name),
                    decode_mask(example.segmentation_mask, example.file_name),
                )
        figures = score.figures(f"{role}/{kind}")
        metrics |= figures
        if figures:
            _LOG.info("%s", per_class_table(figures, f"{role}/{kind}", context.dataset.class_names))
    if not metrics:
        _LOG.info("No photograph has a mask, so nothing is scored.")
    metrics[NOTICES] = background_notices(metrics, kind, masks)
    if distributed.is_first():
        atomic.atomic_write(context.folder / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    return metrics
