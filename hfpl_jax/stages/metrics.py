"""Scores the CAMs: chooses the background threshold on training photographs and applies
it to val; and chooses the cut above which a class counts as there where nobody says.

Writes metrics.json, a flat dict of floats beside the threshold rule, and sweep.json,
the mIoU at every threshold.
"""

import json
import logging
import pathlib

import numpy as np

from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.inference.cam_record import read_shown
from hfpl_jax.inference.seen import OWN_BACKGROUND
from hfpl_jax.masks import label_map
from hfpl_jax.methods import METHODS
from hfpl_jax.metrics.class_cut import CUTS, best_cut, cut_counts
from hfpl_jax.metrics.confusion import mean_iou
from hfpl_jax.metrics.tables import per_class_table
from hfpl_jax.metrics.threshold_sweep import (
    NUM_THRESHOLDS,
    THRESHOLDS,
    best_threshold,
    confusions,
    has_objects,
    sweep_counts,
)
from hfpl_jax.runtime import atomic, distributed
from hfpl_jax.runtime.stage_json import read_stage_json, unusable
from hfpl_jax.settings.labels import given_threshold
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.notices import NOTICES, background_notices, threshold_notices
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.stages.scoring import METRICS_FILE, Score, cam_records, scored_names

_LOG = logging.getLogger(__name__)

SWEEP_FILE = "sweep.json"
GIVEN = "given"
"""The threshold rule of a number in the configuration."""
OWN = "the method's own background"
NETWORKS = "the final network's own background"


def read_metrics(folder: pathlib.Path) -> dict:
    """metrics.json of a finished metrics stage: `{role}/cam/{figure}` -> value,
    `threshold`, and how it was found.

    Raises:
      InputError: the file is missing, damaged or incomplete.
    """
    metrics = read_stage_json(folder / METRICS_FILE)
    threshold, missing = (
        metrics.get("threshold"),
        {"threshold_rule", "image_labels"} - metrics.keys(),
    )
    if missing or not isinstance(threshold, float | int) or not 0 <= threshold < 1:
        raise unusable(
            folder / METRICS_FILE, f"threshold is {threshold!r:.40}, missing: {sorted(missing)}"
        )
    return metrics


def read_sweep(folder: pathlib.Path) -> dict[str, tuple[list[float], list[float]]]:
    """Role -> (thresholds, mIoU at each). Raises InputError if the file is missing or
    damaged.
    """
    sweep = read_stage_json(folder / SWEEP_FILE)
    try:
        curves = {
            role: np.array([sweep["thresholds"], miou], np.float64)
            for role, miou in sweep["miou"].items()
        }
    except (KeyError, AttributeError, ValueError, TypeError, OverflowError) as error:
        raise unusable(folder / SWEEP_FILE, error) from error
    return {role: tuple(curve.tolist()) for role, curve in curves.items()}


def run(context: Context) -> dict:
    config, class_names = context.config, context.dataset.class_names
    roles = context.roles
    counts = {role: _sweep(context, role, split) for role, split in roles.items()}
    counts = {role: histogram for role, histogram in counts.items() if histogram.any()}
    threshold, rule = _threshold(context, counts)

    labels = (
        "given image labels"
        if config.inference.image_labels == "given"
        else "predicted image labels"
    )
    _LOG.info("Background threshold %.2f (%s); CAMs of %s.", threshold, rule, labels)
    metrics: dict[str, float] = {"threshold": threshold, **_class_cut(context)}
    sweep = {}
    for role, histogram in counts.items():
        matrices = confusions(histogram)
        if has_objects(histogram):
            own_best, own_miou = best_threshold(matrices)
            metrics |= {
                f"{role}/cam/miou_at_own_best_threshold": own_miou,
                f"{role}/cam/own_best_threshold": own_best,
            }
        sweep[role] = [float(value) for value in np.nan_to_num(mean_iou(matrices))]
        metrics |= _at_threshold(context, role, roles[role], threshold)
        _LOG.info("%s\n%s", labels, per_class_table(metrics, f"{role}/cam", class_names))
    if not counts:
        _LOG.info("No photograph has a mask, so nothing is scored.")
    facts = {
        "threshold_rule": rule,
        "image_labels": labels,
        NOTICES: [
            *(
                threshold_notices(threshold, given=rule == GIVEN)
                if rule not in (OWN, NETWORKS)
                else ()
            ),
            *background_notices(metrics, "cam"),
        ],
    }
    if distributed.is_first():
        atomic.atomic_write(
            context.folder / METRICS_FILE, json.dumps({**metrics, **facts}, indent=2) + "\n"
        )
        atomic.atomic_write(
            context.folder / SWEEP_FILE,
            json.dumps({"thresholds": THRESHOLDS, "miou": sweep}, indent=2) + "\n",
        )
    return {**metrics, **facts}


def _scored(context: Context, role: str, split: str):
    """Records with a mask; of the training photographs, those of `score_split`."""
    chosen = scored_names(context, role)
    for record, example in cam_records(context, split, "scoring"):
        if example.segmentation_mask is not None and (chosen is None or record.file_name in chosen):
            yield record, decode_mask(example.segmentation_mask, example.file_name)


def _sweep(context: Context, role: str, split: str) -> np.ndarray:
    num_classes = len(context.dataset.class_names) + 1
    counts = np.zeros((num_classes, num_classes, NUM_THRESHOLDS + 1), np.int64)
    for record, truth in _scored(context, role, split):
        counts += sweep_counts(record.cams, record.classes, truth, num_classes=num_classes)
    return distributed.total(counts)


def _class_cut(context: Context) -> dict[str, float]:
    """Chosen on the image labels of the photographs that count as "train"."""
    chosen, counts = scored_names(context, "train"), np.zeros((2, len(CUTS) + 1), np.int64)
    records = Pairs(context, "cams", context.label_split).records  # neither maps nor pixels
    for position in distributed.share(range(len(records))):
        record = records[position]
        if chosen is None or record["file_name"] in chosen:
            labels, probabilities = read_shown(record)
            counts += cut_counts(probabilities, labels)
    cut, f1 = best_cut(distributed.total(counts))
    _LOG.info("Class cut %.2f: F1 %.2f on the image labels of train.", cut, f1)
    return {"class_cut": cut, "class_cut_f1": f1}


def _threshold(context: Context, counts: dict[str, np.ndarray]) -> tuple[float, str]:
    """The background score, and how it was found."""
    config = context.config
    own = METHODS[config.method.name].threshold
    if context.round > 1:  # a number that was given is one of the classifier's maps
        chosen = own is None and given_threshold(config.labels.threshold) is None
        if not chosen or "train" not in counts or not has_objects(counts["train"]):
            return OWN_BACKGROUND, NETWORKS
    elif own is not None:
        return own, OWN
    threshold = given_threshold(config.labels.threshold)
    if threshold is not None:
        return threshold, GIVEN
    default, scored = config.labels.default_threshold, config.data.score_split
    photograph = f"photograph of {scored}" if scored else "training photograph"
    if "train" not in counts:
        return default, f"default, as no {photograph} has a mask"
    if not has_objects(counts["train"]):
        return default, f"default, as no mask of a {photograph} holds an object"
    best, _ = best_threshold(confusions(counts["train"]))
    return best, "best mIoU on the masks of training photographs"


def _at_threshold(context: Context, role: str, split: str, threshold: float) -> dict[str, float]:
    score = Score(context.dataset.class_names)
    for record, truth in _scored(context, role, split):
        score.add(label_map(record.cams, record.classes, threshold=threshold), truth)
    return score.figures(f"{role}/cam")
