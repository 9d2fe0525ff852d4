"""Makes what a refiner's network learns from, and masks to look at beside it."""

import functools

import jax

from hfpl_jax.build import build_refiner
from hfpl_jax.data.example import encode_mask
from hfpl_jax.refine.on_host import on_host
from hfpl_jax.refine.refiner import LearningRefiner
from hfpl_jax.runtime.records import resume
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.scoring import score_masks, stage_records


def run(context: Context) -> dict:
    refiner = build_refiner(context.config).in_round(context.round)
    assert isinstance(refiner, LearningRefiner)
    threshold = read_metrics(context.workdir / "metrics")["threshold"]
    for role, split in context.roles.items():
        done, writer = resume(
            context.folder / split,
            shard_size=context.config.run.shard_size,
            process_index=jax.process_index(),
        )
        work = functools.partial(refiner.evidence, learnt=role == "train")
        pairs = stage_records(context, "cams", split, f"{refiner.evidence_title} of")
        with writer:
            for record, (refined, learnt) in on_host(work, pairs, threshold=threshold, done=done):
                height, width, _ = record.cams.shape
                writer.write(
                    {
                        "index": record.index,
                        "file_name": record.file_name,
                        "labels": [int(label) for label in record.classes],
                        "height": height,
                        "width": width,
                        "mask": encode_mask(refined.mask),
                        "confidence": encode_mask(refined.confidence),
                        **learnt,
                    }
                )
    cure = f"If the report shows better CAMs, {refiner.evidence_cure}."
    masks = f"masks of the {refiner.evidence_title}", cure
    return score_masks(context, refiner.evidence_stage, masks)
