"""Turns CAMs into pseudo-labels, a mask and a confidence map a photograph: by a
threshold, or as config.refine says.
"""

from collections.abc import Callable, Iterator, Sequence, Set

import jax
import numpy as np

from hfpl_jax.build import build_affinity_network, trained_variables
from hfpl_jax.data.example import encode_mask
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.pseudo_labels import confidence, pseudo_label
from hfpl_jax.refine.walk import WalkSettings, make_walk, record_sizes, walked_labels
from hfpl_jax.runtime.records import resume
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.stages.scoring import cam_records, score_masks, stage_records

Records = Callable[[str, Set[str]], Iterator[dict]]
"""`records_of(split, done)`: the records of `split` but for those of the file names
`done`.
"""


def run(context: Context) -> dict:
    method = context.config.refine.method
    # The threshold's masks of val are scored with the CAMs; those of a refinement are
    # not, so it makes them here.
    splits = tuple(dict.fromkeys(context.roles.values())) if method else (context.label_split,)
    makers = {"": _thresholded, "crf": _from_crf, "random_walk": _walked}
    records_of = makers[method](context, splits)
    for split in splits:
        done, writer = resume(
            context.folder / split,
            shard_size=context.config.run.shard_size,
            process_index=jax.process_index(),
        )
        with writer:
            for record in records_of(split, done):
                writer.write(record)
    return score_masks(context, "pseudo_label") if method else {}


def _thresholded(context: Context, splits: Sequence[str]) -> Records:
    threshold = read_metrics(context.workdir / "metrics")["threshold"]
    band = tuple(float(bound) for bound in context.config.labels.ignore_band) or None

    def records_of(split: str, done: Set[str]) -> Iterator[dict]:
        for record, _ in cam_records(context, split, "pseudo-labels of"):
            if record.file_name not in done:
                mask = pseudo_label(
                    record.cams, record.classes, threshold=threshold, ignore_band=band
                )
                yield _record(
                    record.index,
                    record.file_name,
                    record.classes,
                    mask,
                    confidence(record.cams, threshold=threshold),
                )

    return records_of


def _from_crf(context: Context, splits: Sequence[str]) -> Records:
    def records_of(split: str, done: Set[str]) -> Iterator[dict]:
        for record, _ in stage_records(context, "crf", split, "pseudo-labels of"):
            if record["file_name"] not in done:
                yield {
                    name: record[name]
                    for name in ("index", "file_name", "labels", "mask", "confidence")
                }

    return records_of


def _walked(context: Context, splits: Sequence[str]) -> Records:
    config, refine = context.config, context.config.refine
    network = build_affinity_network(config)
    settings = WalkSettings(
        alpha=refine.walk_alpha,
        threshold=read_metrics(context.workdir / "metrics")["threshold"],
        beta=refine.walk_beta,
        steps=refine.walk_steps,
        cell=network.backbone.output_stride,
        batch_size=config.run.cam_batch_size,
    )
    mesh = local_mesh(settings.batch_size, "config.run.cam_batch_size")
    variables = trained_variables(network, context.workdir / "affinity", mesh)
    walk = make_walk(network, settings, mesh)
    pairs = {split: Pairs(context, "cams", split) for split in splits}
    scanned = {split: record_sizes(of_split.records) for split, of_split in pairs.items()}
    # Shapes and channels are shared by all splits: the walk is compiled once for each
    # shape.
    shapes = plan_shapes(
        np.asarray([size for sizes, _ in scanned.values() for size in sizes.values()], np.int64),
        config.run.padded_shapes,
    )
    most_classes = max(most for _, most in scanned.values())

    def records_of(split: str, done: Set[str]) -> Iterator[dict]:
        walked = walked_labels(
            pairs[split],
            walk,
            variables,
            settings=settings,
            sizes=scanned[split][0],
            shapes=shapes,
            most_classes=most_classes,
            done=done,
            mesh=mesh,
            title=f"random walk of {split}",
        )
        for record, mask, certainty in walked:
            yield _record(record.index, record.file_name, record.classes, mask, certainty)

    return records_of


def _record(
    index: int, file_name: str, classes: np.ndarray, mask: np.ndarray, certainty: np.ndarray
) -> dict:
    return {
        "index": index,
        "file_name": file_name,
        "labels": [int(label) for label in classes],
        "mask": encode_mask(mask),
        "confidence": encode_mask(certainty),
    }
