"""Writes report.html and its pictures: what a person looks at after a run."""

import dataclasses
import logging
from collections.abc import Mapping

import numpy as np

from hfpl_jax.build import build_refiner
from hfpl_jax.data.dataset import Example, Split, decode_image, decode_mask
from hfpl_jax.data.index import entries_of
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.metrics.tables import per_class
from hfpl_jax.refine.refiner import LearningRefiner
from hfpl_jax.report.html import write_report
from hfpl_jax.report.instances import Things
from hfpl_jax.report.tiles import Picture, Tile
from hfpl_jax.runtime import distributed
from hfpl_jax.runtime.manifest import read_manifest, result_folder
from hfpl_jax.runtime.stage_json import read_stage_json
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics, read_sweep
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.stages.report_facts import facts
from hfpl_jax.stages.rounds import scores_of_rounds, table_of_rounds
from hfpl_jax.stages.score_instances import found_instances
from hfpl_jax.stages.scoring import METRICS_FILE
from hfpl_jax.training.metric_log import read_rows

_LOG = logging.getLogger(__name__)

_NEIGHBOURS = 8  # photographs among which the one with most classes is shown


def run(context: Context) -> dict:
    if not distributed.is_first():
        return {}
    class_names = context.dataset.class_names
    metrics = read_metrics(context.workdir / "metrics")
    scores = dict(metrics)
    for stage in (name for name in context.reads if "/" not in name):
        path = context.workdir / stage / METRICS_FILE
        if stage != "metrics" and path.exists():
            scores |= read_stage_json(path)
    figures = {
        name: value for name, value in scores.items() if isinstance(value, float) and "/" in name
    }
    learnt = {}
    if "predictions" in context.reads:
        learnt = read_manifest(result_folder(context.workdir / "segmentation"))["facts"]
    rounds = scores_of_rounds(context)
    if rounds:
        _LOG.info("%s", table_of_rounds(rounds))
    shown = pictures(context)
    if rounds:
        shown += _of_round(context, context.config.rounds)
    page = write_report(
        context.folder,
        title=f"{context.dataset.name}: from image labels to masks",
        notices=context.notices,
        class_names=class_names,
        facts=facts(
            context.config,
            dataset=context.dataset.name,
            label_split=context.label_split,
            metrics=metrics,
            learnt=learnt,
        ),
        history=read_rows(result_folder(context.workdir / "train")),
        curves=read_sweep(context.workdir / "metrics"),
        threshold=metrics["threshold"],
        per_class={
            role: per_class(metrics, f"{role}/cam", "iou", class_names)
            for role in ("train", "val")
            if f"{role}/cam/miou" in metrics
        },
        rounds=rounds,
        pictures=shown,
        metrics=figures,
    )
    return {"report": str(page), "pictures": [picture.file_name for picture in shown]}


def _of_round(context: Context, number: int) -> list[Picture]:
    """The same pictures of a later round, but for its instances, which it has not."""
    return [
        dataclasses.replace(
            shown,
            file_name=f"round{number}_{shown.file_name}",
            heading=f"{shown.heading}, round {number}",
        )
        for shown in pictures(context.of_round(number))
    ]


def pictures(context: Context) -> list[Picture]:
    """Of the labelled split what every stage made on the way to its pseudo-labels, and
    of val what the final network sees, as far as the configuration has these stages;
    of both the instances that were looked for.
    """
    refiner, panels = build_refiner(context.config), {}  # and whose records it shows
    panels["CAM" if context.round == 1 else "network before"] = "cams"
    if isinstance(refiner, LearningRefiner) and refiner.makes_evidence():
        panels[refiner.evidence_title] = refiner.evidence_stage
    panels["pseudo-label"] = "labels"
    split, val = context.label_split, context.config.data.val_split
    shown = [Picture("grid.png", f"Pseudo-labels of {split}", _tiles(context, split, panels))]
    if "predictions" in context.reads:
        tiles = _tiles(context, val, {"final network": "predictions"})
        shown.append(Picture("predictions.png", f"Final network on {val}", tiles))
    if "instances" in context.reads:
        for role, split in context.roles.items():
            if (context.workdir / "instances" / split).is_dir():
                tiles = _instance_tiles(context, split)
                shown.append(Picture(f"instances_{role}.png", f"Instances of {split}", tiles))
    return shown


def _tiles(context: Context, split: str, stages: Mapping[str, str]) -> list[Tile]:
    """The same photographs whichever processes made the records."""
    pairs = {panel: Pairs(context, stage, split) for panel, stage in stages.items()}
    for each in pairs.values():
        each.sort()  # from here on, number i of all is the split's photograph i
    photographs = context.dataset.split(split)
    return [
        tile(
            photographs[index],
            {panel: _map(each.known(index)[0]) for panel, each in pairs.items()},
            context.dataset.class_names,
        )
        for index in chosen(photographs, context.config.report.photographs)
    ]


def _instance_tiles(context: Context, split: str) -> list[Tile]:
    pairs = Pairs(context, "instances", split)
    pairs.sort()
    places = chosen(context.dataset.split(split), context.config.report.photographs)
    return [instance_tile(*pairs[place], context.dataset.class_names) for place in places]


def instance_tile(record: dict, example: Example, class_names: tuple[str, ...]) -> Tile:
    """A photograph, its true instances and those of its record."""
    found = found_instances(record, example, len(class_names))
    kinds = {"true instances": example.instances, "instances": found}
    return Tile(
        file_name=example.file_name,
        image=example.pixels(),
        maps={
            panel: None
            if instances is None
            else Things.of(instances, example.height, example.width, class_names)
            for panel, instances in kinds.items()
        },
        labels=tuple(class_names[index] for index in example.labels),
    )


def chosen(photographs: Split, number: int) -> list[int]:
    """Places of `number` photographs, spread evenly over the split, those with several
    classes first among their neighbours.
    """
    entries = entries_of(photographs)
    groups = np.array_split(np.arange(len(entries)), min(number, len(entries)))
    return [
        max(group[:_NEIGHBOURS].tolist(), key=lambda index: len(entries[index].labels))
        for group in groups
    ]


def tile(example: Example, maps: Mapping[str, np.ndarray], class_names: tuple[str, ...]) -> Tile:
    """A photograph, its mask, and the maps that were made of it, by the names of their
    panels.
    """
    name, truth = example.file_name, example.segmentation_mask
    return Tile(
        file_name=name,
        image=decode_image(example.image, name),
        maps={"truth": None if truth is None else decode_mask(truth, name), **maps},
        labels=tuple(class_names[index] for index in example.labels),
    )


def _map(record: dict) -> np.ndarray:
    """The strongest CAM at each pixel, or the label map."""
    if "mask" in record:
        return decode_mask(record["mask"], record["file_name"])
    return CamRecord.decode(record).cams.max(axis=-1, initial=0.0)
