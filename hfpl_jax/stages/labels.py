"""Turns CAMs into pseudo-labels, a mask and a confidence map a photograph, by the refiner
that config.refine names.
"""

from collections.abc import Callable, Iterator, Sequence, Set

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from hfpl_jax.build import (
    build_backbone,
    build_refiner,
    make_network,
    pretrained_backbone,
    trained_variables,
)
from hfpl_jax.data.example import encode_mask
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.refine.on_device import on_device
from hfpl_jax.refine.on_host import on_host
from hfpl_jax.refine.refiner import (
    DeviceRefiner,
    HostRefiner,
    LearningRefiner,
    PretrainedRefiner,
    Refined,
    Refiner,
)
from hfpl_jax.runtime.records import resume
from hfpl_jax.runtime.sharding import local_mesh, replicated
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.notices import NOTICES, random_notices
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.stages.scoring import score_masks, stage_records
from hfpl_jax.training.settings import stage_of

Made = Callable[[str, Set[str]], Iterator[tuple[CamRecord, Refined]]]
"""`refined(split, done)`: of the photographs of `split` but for those of the file names
`done`.
"""


def run(context: Context) -> dict:
    refiner = build_refiner(context.config).in_round(context.round)
    splits = tuple(dict.fromkeys(context.roles.values()))
    if not refiner.scored:
        splits = (context.label_split,)
    if isinstance(refiner, DeviceRefiner):
        refined = _on_device(context, refiner, splits)
    else:
        refined = _on_host(context, refiner)
    for split in splits:
        done, writer = resume(
            context.folder / split,
            shard_size=context.config.run.shard_size,
            process_index=jax.process_index(),
        )
        with writer:
            for record, made in refined(split, done):
                writer.write(
                    {
                        "index": record.index,
                        "file_name": record.file_name,
                        "labels": [int(label) for label in record.classes],
                        "mask": encode_mask(made.mask),
                        "confidence": encode_mask(made.confidence),
                    }
                )
    if not refiner.scored:
        return {}
    facts = score_masks(context, "pseudo_label")
    return {**facts, NOTICES: [*facts[NOTICES], *_notices(context.config, refiner)]}


def _notices(config: ConfigDict, refiner: Refiner) -> list[str]:
    if not isinstance(refiner, PretrainedRefiner):
        return []
    said = f"Masks were made by {config.refine.name} with"
    return random_notices(config, said, ", or config.refine.name to another refiner, such as crf")


def _threshold(context: Context) -> float:
    return read_metrics(context.workdir / "metrics")["threshold"]


def _on_host(context: Context, refiner: HostRefiner) -> Made:
    threshold = _threshold(context)

    def refined(split: str, done: Set[str]) -> Iterator[tuple[CamRecord, Refined]]:
        pairs = stage_records(context, "cams", split, "pseudo-labels of")
        return on_host(refiner.refine, pairs, threshold=threshold, done=done)

    return refined


def _on_device(context: Context, refiner: DeviceRefiner, splits: Sequence[str]) -> Made:
    config = context.config
    batch_size = config.run.cam_batch_size
    mesh = local_mesh(batch_size, "config.run.cam_batch_size")
    network, variables = None, {}
    if isinstance(refiner, LearningRefiner):
        section = refiner.training.path
        network = make_network(config, section, len(context.dataset.class_names))
        variables = trained_variables(network, context.workdir / stage_of(section), mesh)
    elif isinstance(refiner, PretrainedRefiner):
        backbone = build_backbone(config).clone(dtype=jnp.float32)
        network, found = refiner.network(backbone), pretrained_backbone(config, backbone)
        variables = {name: {"backbone": arrays} for name, arrays in found.items()}
        variables = jax.device_put(variables, replicated(mesh))
    return on_device(
        refiner,
        {split: Pairs(context, "cams", split) for split in splits},
        threshold=_threshold(context),
        batch_size=batch_size,
        padded_shapes=config.run.padded_shapes,
        mesh=mesh,
        network=network,
        variables=variables,
    )
