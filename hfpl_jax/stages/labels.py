"""Turns CAMs into pseudo-labels, a mask and a confidence map a photograph: by a threshold, or as config.refine says."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.build import build_affinity_network
from hfpl_jax.data.example import encode_mask
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.pseudo_labels import confidence, pseudo_label
from hfpl_jax.inference.walk import WalkSettings, make_walk, walked_labels
from hfpl_jax.progress import track
from hfpl_jax.records import RecordReader, RecordWriter, finished_records
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.scoring import cam_records, score_masks, stage_records
from hfpl_jax.training.checkpoint import restore_variables
from hfpl_jax.training.fit import CHECKPOINTS
from hfpl_jax.training.mesh import data_mesh, replicated


def run(context: Context) -> dict:
    method = context.config.refine.method
    makers = {"": _thresholded, "crf": _from_crf, "random_walk": _walked}
    # The threshold's masks of val are scored with the CAMs; those of a refinement are not, so it makes them here.
    splits = dict.fromkeys(context.roles.values()) if method else (context.label_split,)
    for split in splits:
        folder = context.folder / split
        done, next_shard = finished_records(folder)
        with RecordWriter(folder, shard_size=context.config.run.shard_size, first_shard=next_shard) as writer:
            for record in makers[method](context, split, done):
                writer.write(record)
    return score_masks(context, context.folder.name, "pseudo_label") if method else {}


def _thresholded(context: Context, split: str, done: Sequence[str]) -> Iterator[dict]:
    threshold = read_metrics(context.workdir / "metrics")["threshold"]
    band = tuple(float(bound) for bound in context.config.labels.ignore_band) or None
    finished = set(done)
    for record, _ in cam_records(context, split, "pseudo-labels of"):
        if record.file_name not in finished:
            mask = pseudo_label(record.cams, record.classes, threshold=threshold, ignore_band=band)
            yield _record(record.index, record.file_name, record.classes, mask, confidence(record.cams, threshold=threshold))


def _from_crf(context: Context, split: str, done: Sequence[str]) -> Iterator[dict]:
    finished = set(done)
    for record, _ in stage_records(context, "crf", split, "pseudo-labels of"):
        if record["file_name"] not in finished:
            yield {name: record[name] for name in ("index", "file_name", "labels", "mask", "confidence")}


def _walked(context: Context, split: str, done: Sequence[str]) -> Iterator[dict]:
    config, refine = context.config, context.config.refine
    settings = WalkSettings(
        alpha=refine.walk_alpha,
        beta=refine.walk_beta,
        steps=refine.walk_steps,
        cell=config.model.output_stride,
        batch_size=config.run.cam_batch_size,
    )
    mesh = data_mesh(settings.batch_size, "config.run.cam_batch_size")
    network = build_affinity_network(config)
    abstract = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    variables = restore_variables(context.workdir / "affinity" / CHECKPOINTS, abstract, replicated(mesh))
    photographs, records = context.dataset.split(split), RecordReader(context.workdir / "cams" / split)
    sizes = np.asarray([(example.height, example.width) for example in photographs], np.int64)
    walked = walked_labels(
        photographs,
        records,
        make_walk(network, settings, mesh),
        variables,
        settings=settings,
        shapes=plan_shapes(sizes, config.run.padded_shapes),
        done=done,
        mesh=mesh,
    )
    for record, mask, certainty in track(walked, f"random walk of {split}", len(records) - len(done)):
        yield _record(record.index, record.file_name, record.classes, mask, certainty)


def _record(index: int, file_name: str, classes: np.ndarray, mask: np.ndarray, certainty: np.ndarray) -> dict:
    return {
        "index": index,
        "file_name": file_name,
        "labels": [int(label) for label in classes],
        "mask": encode_mask(mask),
        "confidence": encode_mask(certainty),
    }
