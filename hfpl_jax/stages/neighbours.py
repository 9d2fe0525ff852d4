"""Finds the photographs of train that look alike, and those that are in val as well,
with the pretrained backbone alone: nothing is trained.

Writes neighbours.json, each photograph's nearest ones with their cosines, and
near_duplicates.json, pairs of a photograph of train and one of val.
"""

import json
import logging
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from hfpl_jax.build import build_backbone, pretrained_backbone
from hfpl_jax.data.dataset import Split
from hfpl_jax.errors import InputError
from hfpl_jax.inference.multi_scale import MultiScale
from hfpl_jax.retrieval.describe import Described, describe, descriptor_predictor, feature_width
from hfpl_jax.retrieval.nearest import DECIMALS, nearest, pairs_above, recall
from hfpl_jax.runtime import atomic, distributed
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.runtime.stage_json import read_stage_json, unusable
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.notices import NOTICES, random_notices
from hfpl_jax.stages.pretrain import folder as pretraining

_LOG = logging.getLogger(__name__)
_RECORDS = "records"

NEIGHBOURS_FILE = "neighbours.json"
DUPLICATES_FILE = "near_duplicates.json"
COUNT = 20
"""Neighbours that are written of each photograph."""
RECALL_AT = (1, 5, 10)


def duplicate_cosine(dimensions: int) -> float:
    """From which on two photographs count as nearly the same: chosen on VOC, where
    mirrored and lighter copies have 0.87 and more in 190 dimensions, two photographs of
    one scene 0.89 and all others 0.77 at most. In few dimensions, which few photographs
    allow, unlike ones are nearer: experiments/notes/neighbours.md.
    """
    return 0.85 if dimensions >= 100 else 0.95


def nearest_photographs(folder: pathlib.Path) -> dict[str, list[str]]:
    """File name -> those of the photographs of the training split that look most like
    it, the nearest first; from the folder of a finished stage.

    Raises:
      InputError: the file is missing or damaged.
    """
    path = folder / NEIGHBOURS_FILE
    content = read_stage_json(path)
    try:
        found = {
            name: [other for other, _ in others] for name, others in content["nearest"].items()
        }
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise unusable(path, error) from error
    if not all(
        isinstance(other, str) and other in found for each in found.values() for other in each
    ):
        raise unusable(path, "it names photographs of which it lists no neighbours")
    return found


def run(context: Context) -> dict:
    config, dataset = context.config, context.dataset
    splits = [dataset.split(config.data.train_split)]
    if len(splits[0]) < 2:
        raise InputError(
            f"The split {splits[0].name} has {len(splits[0])} photographs, and neighbours are two "
            "or more. Give more, or do without the neighbours."
        )
    if config.data.val_split:
        splits.append(dataset.split(config.data.val_split))
    train, *val = _described(context, splits)
    indices, cosines = nearest(train.vectors, COUNT)
    least = duplicate_cosine(train.vectors.shape[1])
    pairs = [
        (train.names[row], other.names[column], round(cosine, DECIMALS))
        for other in val
        for row, column, cosine in pairs_above(train.vectors, other.vectors, least)
    ]
    facts = {
        "photographs": len(train.names),
        "dimensions": train.vectors.shape[1],
        **_recalls(train, indices, len(dataset.class_names)),
        **({"near_duplicates": len(pairs), "near_duplicates_from": least} if val else {}),
    }
    _LOG.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in facts.items()))
    distributed.meet()  # all have read the records
    if distributed.is_first():
        listed = {
            name: [
                (train.names[other], round(float(cosine), DECIMALS))
                for other, cosine in zip(*found, strict=True)
            ]
            for name, *found in zip(train.names, indices, cosines, strict=True)
        }
        _write(context.folder / DUPLICATES_FILE, {"least_cosine": least, "pairs": pairs})
        _write(context.folder / NEIGHBOURS_FILE, {"split": splits[0].name, "nearest": listed})
        shutil.rmtree(context.folder / _RECORDS)  # hundreds of megabytes that nobody reads
    return {**facts, NOTICES: _notices(config, pairs)}


def _described(context: Context, splits: list[Split]) -> list[Described]:
    config = context.config
    backbone = build_backbone(config).clone(dtype=jnp.float32)
    variables = pretrained_backbone(config, backbone, pretraining(context))  # before any is read
    multi_scale = MultiScale(
        scales=(1.0,),
        long_side=config.neighbours.long_side,
        flip=False,
        batch_size=config.run.cam_batch_size,
    )
    mesh = local_mesh(config.run.cam_batch_size, "config.run.cam_batch_size")
    return describe(
        descriptor_predictor(backbone, variables, multi_scale, mesh),
        splits,
        context.folder / _RECORDS,
        width=feature_width(backbone),
        padded_shapes=config.run.padded_shapes,
        shard_size=config.run.shard_size,
    )


def _recalls(train: Described, indices: np.ndarray, num_classes: int) -> dict[str, float]:
    """Those of sharing a label, beside those of chance; none where no two do."""
    shown = np.zeros((len(train.names), num_classes), bool)
    for row, labels in enumerate(train.labels):
        shown[row, labels] = True
    found = {}
    for first in RECALL_AT:
        name = f"recall_at_{first}"
        found[name], found[f"{name}_by_chance"] = recall(indices, shown, first)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _notices(config: ConfigDict, pairs: list[tuple[str, str, float]]) -> list[str]:
    notices = random_notices(config, "The neighbours were found with")
    if pairs:
        first, other, cosine = pairs[0]
        notices.append(
            f"Pairs of photographs of {config.data.train_split} and {config.data.val_split} look "
            f"nearly the same ({len(pairs)}, beginning with {first} and {other}, cosine "
            f"{cosine:.2f}). Look at those in neighbours/{DUPLICATES_FILE}: if they show the same "
            f"scene, leave them out of {config.data.val_split}, whose figures they better."
        )
    return notices


def _write(path: pathlib.Path, content: dict) -> None:
    atomic.atomic_write(path, json.dumps(content, ensure_ascii=True) + "\n")
