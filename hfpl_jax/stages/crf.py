"""Sharpens the CAMs with a dense CRF: label maps to score, and, for the random walk,
the two maps AffinityNet learns from.
"""

from concurrent import futures

import jax
import numpy as np

from hfpl_jax.data.dataset import decode_image
from hfpl_jax.data.example import Example, encode_mask
from hfpl_jax.inference.cam_record import CamRecord, encode_maps
from hfpl_jax.inference.pseudo_labels import label_map_of, margin
from hfpl_jax.refine.background import background_score, threshold_background
from hfpl_jax.refine.crf import CrfSettings, dense_crf
from hfpl_jax.runtime.cores import available_cores
from hfpl_jax.runtime.records import resume
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.scoring import cam_records, score_masks


def run(context: Context) -> dict:
    threshold = read_metrics(context.workdir / "metrics")["threshold"]
    for role, split in context.roles.items():
        walked = role == "train" and context.config.refine.method == "random_walk"
        _write(context, split, threshold, tuple(context.config.affinity.alphas) if walked else ())
    return score_masks(context, "crf")


def _write(context: Context, split: str, threshold: float, alphas: tuple[float, ...]) -> None:
    """Records of `split`; the CRF runs on all cores, a photograph a thread."""
    done, writer = resume(
        context.folder / split,
        shard_size=context.config.run.shard_size,
        process_index=jax.process_index(),
    )
    workers = available_cores()

    def refined(pair: tuple[CamRecord, Example]) -> dict:
        return _record(context, *pair, threshold=threshold, alphas=alphas)

    with writer, futures.ThreadPoolExecutor(workers) as pool:
        waiting: list[futures.Future] = []
        for record, example in cam_records(context, split, "CRF of"):
            if record.file_name in done:
                continue
            waiting.append(pool.submit(refined, (record, example)))
            if len(waiting) > 2 * workers:
                writer.write(waiting.pop(0).result())
        for future in waiting:
            writer.write(future.result())


def _record(
    context: Context,
    record: CamRecord,
    example: Example,
    *,
    threshold: float,
    alphas: tuple[float, ...],
) -> dict:
    """One photograph: its mask at the threshold, and 8-bit probabilities [h, w, 1 + n]
    for each alpha, present classes only.
    """
    refine = context.config.refine
    image = decode_image(example.image, example.file_name)

    scores = [
        threshold_background(record.cams, threshold),
        *(background_score(record.cams, alpha) for alpha in alphas),
    ]
    maps = np.stack([score / score.sum(axis=-1, keepdims=True) for score in scores])
    if len(record.classes):  # else the photograph is background, whatever its colours
        settings = CrfSettings.of(refine)
        maps = dense_crf(image, maps, settings=settings, algorithm=refine.crf_algorithm)
    probabilities, *for_affinity = maps
    return {
        "index": record.index,
        "file_name": record.file_name,
        "labels": [int(label) for label in record.classes],
        "height": example.height,
        "width": example.width,
        "mask": encode_mask(label_map_of(probabilities, record.classes)),
        "confidence": encode_mask(margin(probabilities)),
        **{
            f"alpha{position}": encode_maps(refined)
            for position, refined in enumerate(for_affinity)
        },
    }
