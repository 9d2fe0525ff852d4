"""Writes report.html and grid.png: what a person looks at after a run."""

import numpy as np

from hfpl_jax import distributed
from hfpl_jax.data.dataset import decode_image, decode_mask
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.manifest import result_folder
from hfpl_jax.metrics.tables import per_class
from hfpl_jax.records import RecordReader
from hfpl_jax.report.html import write_report
from hfpl_jax.report.tiles import Tile
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics, read_sweep
from hfpl_jax.stages.scoring import METRICS_FILE
from hfpl_jax.stages.stage_json import read_stage_json
from hfpl_jax.training.metric_log import read_rows

REFINEMENTS = ("crf", "labels", "predictions")
"""Stages behind the CAMs that score what they make."""


def run(context: Context) -> dict:
    if not distributed.is_first():
        return {}
    config, class_names = context.config, context.dataset.class_names
    metrics = read_metrics(context.workdir / "metrics")
    refined = [
        path for stage in REFINEMENTS if (path := context.workdir / stage / METRICS_FILE).exists()
    ]
    scores = metrics | {
        name: value for path in refined for name, value in read_stage_json(path).items()
    }
    figures = {
        name: value for name, value in scores.items() if isinstance(value, float) and "/" in name
    }
    facts = {
        "Dataset": f"{context.dataset.name}, pseudo-labels for {context.label_split}",
        "Network": f"ResNet-{config.model.depth}, output stride {config.model.output_stride}",
        "Importance sampling loss": f"weight {config.hfpl.isl_weight:g}, {config.hfpl.num_samples} samples",
        "Feature similarity loss": f"weight {config.hfpl.fsl_weight:g}, sigma {config.hfpl.sigma:g}, mu {config.hfpl.mu:g}",
        "Training": f"{config.train.epochs} epochs, batch {config.train.batch_size}, crop {config.train.crop_size}, seed {config.seed}",
        "Background threshold": f"{metrics['threshold']:.2f}: {metrics['threshold_rule']}",
        "CAMs": f"{metrics['image_labels']}, scales {', '.join(f'{scale:g}' for scale in config.inference.scales)}",
    }
    page = write_report(
        context.folder,
        title=f"{context.dataset.name}: from image labels to masks",
        class_names=class_names,
        facts=facts,
        history=read_rows(result_folder(context.workdir / "train")),
        curves=read_sweep(context.workdir / "metrics"),
        threshold=metrics["threshold"],
        per_class={
            role: per_class(metrics, f"{role}/cam", "iou", class_names)
            for role in ("train", "val")
            if f"{role}/cam/miou" in metrics
        },
        tiles=_tiles(context),
        metrics=figures,
    )
    return {"report": str(page), "picture": str(context.folder / "grid.png")}


def _tiles(context: Context) -> list[Tile]:
    """Photographs spread evenly over the labelled split, those with several classes
    first among their neighbours.
    """
    examples, labels = (
        context.dataset.split(context.label_split),
        RecordReader(context.workdir / "labels" / context.label_split),
    )
    cams, names = (
        RecordReader(context.workdir / "cams" / context.label_split),
        context.dataset.class_names,
    )
    count = min(context.config.report.photographs, len(labels))
    tiles = []
    for group in np.array_split(np.arange(len(labels)), count):
        chosen = max(group[:8], key=lambda index: len(labels[int(index)]["labels"]))
        label, cam = labels[int(chosen)], CamRecord.decode(cams[int(chosen)])
        example = examples[label["index"]]
        truth = example.segmentation_mask
        tiles.append(
            Tile(
                file_name=example.file_name,
                image=decode_image(example.image, example.file_name),
                truth=None if truth is None else decode_mask(truth, example.file_name),
                cam=cam.cams.max(axis=-1, initial=0.0),
                pseudo_label=decode_mask(label["mask"], example.file_name),
                labels=tuple(names[index] for index in example.labels),
            )
        )
    return tiles
