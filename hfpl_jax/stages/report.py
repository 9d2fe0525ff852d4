"""Writes report.html and grid.png: what a person looks at after a run."""

import numpy as np

from hfpl_jax import distributed
from hfpl_jax.data.dataset import decode_image, decode_mask
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.manifest import result_folder
from hfpl_jax.metrics.tables import per_class
from hfpl_jax.report.html import write_report
from hfpl_jax.report.tiles import Tile
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics, read_sweep
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.stages.report_facts import facts
from hfpl_jax.stages.scoring import METRICS_FILE
from hfpl_jax.stages.stage_json import read_stage_json
from hfpl_jax.training.metric_log import read_rows

REFINEMENTS = ("crf", "labels", "predictions")
"""Stages behind the CAMs that score what they make."""

_NEIGHBOURS = 8  # photographs among which the one with most classes is shown


def run(context: Context) -> dict:
    if not distributed.is_first():
        return {}
    class_names = context.dataset.class_names
    metrics = read_metrics(context.workdir / "metrics")
    scores = dict(metrics)
    for stage in REFINEMENTS:
        path = context.workdir / stage / METRICS_FILE
        if stage in context.reads and path.exists():
            scores |= read_stage_json(path)
    figures = {
        name: value for name, value in scores.items() if isinstance(value, float) and "/" in name
    }
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
        ),
        history=read_rows(result_folder(context.workdir / "train")),
        curves=read_sweep(context.workdir / "metrics"),
        threshold=metrics["threshold"],
        per_class={
            role: per_class(metrics, f"{role}/cam", "iou", class_names)
            for role in ("train", "val")
            if f"{role}/cam/miou" in metrics
        },
        tiles=tiles(context),
        metrics=figures,
    )
    return {"report": str(page), "picture": str(context.folder / "grid.png")}


def tiles(context: Context) -> list[Tile]:
    """Photographs spread evenly over the labelled split, those with several classes
    first among their neighbours; the same ones whichever processes made the records.
    """
    labels, cams = (Pairs(context, stage, context.label_split) for stage in ("labels", "cams"))
    labels.sort()  # from here on, number i of both is the split's photograph i
    cams.sort()
    count = min(context.config.report.photographs, len(labels))
    chosen = [
        max(group[:_NEIGHBOURS].tolist(), key=lambda index: len(labels[index][1].labels))
        for group in np.array_split(np.arange(len(labels)), count)
    ]
    return [_tile(labels[index], cams[index], context.dataset.class_names) for index in chosen]


def _tile(label: tuple, cam: tuple, class_names: tuple[str, ...]) -> Tile:
    (record, example), (cam_record, _) = label, cam
    truth, name = example.segmentation_mask, example.file_name
    return Tile(
        file_name=name,
        image=decode_image(example.image, name),
        truth=None if truth is None else decode_mask(truth, name),
        cam=CamRecord.decode(cam_record).cams.max(axis=-1, initial=0.0),
        pseudo_label=decode_mask(record["mask"], name),
        labels=tuple(class_names[index] for index in example.labels),
    )
