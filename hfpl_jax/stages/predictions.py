"""The final network's label maps of the val split, and their score: what the whole
pipeline leads to.
"""

import functools

import numpy as np

from hfpl_jax.build import build_segmentation_network, trained_variables
from hfpl_jax.data.dataset import Example, decode_image
from hfpl_jax.data.example import encode_mask
from hfpl_jax.inference.multi_scale import (
    MultiScale,
    make_logits_function,
    photograph_sizes,
    write_records,
)
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.segmentation import merged_probabilities
from hfpl_jax.refine.crf import CrfSection
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.settings.training import FinalCrf
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.scoring import score_masks


def run(context: Context) -> dict:
    config, settings = context.config, context.config.segmentation
    split = context.dataset.split(config.data.val_split)
    multi_scale = MultiScale(
        scales=tuple(float(scale) for scale in settings.scales),
        long_side=settings.long_side or None,
        flip=True,
        batch_size=config.run.cam_batch_size,
    )
    mesh = local_mesh(
        config.run.cam_batch_size, "config.run.cam_batch_size", views=multi_scale.views
    )
    network = build_segmentation_network(config, len(context.dataset.class_names))
    variables = trained_variables(network, context.workdir / "segmentation", mesh)
    sizes, crf = photograph_sizes(split, multi_scale), FinalCrf.of(settings.crf)
    write_records(
        split,
        make_logits_function(network.apply, mesh),
        variables,
        context.folder / split.name,
        merge=functools.partial(_label_map, views=multi_scale.views, crf=crf),
        settings=multi_scale,
        sizes=sizes,
        shapes=plan_shapes(np.asarray(list(sizes.values()), np.int64), config.run.padded_shapes),
        output_stride=network.backbone.output_stride,
        mesh=mesh,
        shard_size=config.run.shard_size,
        title=f"label maps of {split.name}",
    )
    return score_masks(context, "segmentation")


def _label_map(
    index: int,
    example: Example,
    maps: list[np.ndarray],
    scaled_sizes: list[tuple[int, int]],
    *,
    views: int,
    crf: CrfSection,
) -> dict:
    size = example.height, example.width
    probabilities = merged_probabilities([logits / views for logits in maps], scaled_sizes, size)
    if crf.iterations:
        probabilities = crf.sharpened(decode_image(example.image, example.file_name), probabilities)
    return {
        "index": index,
        "file_name": example.file_name,
        "labels": [int(label) for label in example.labels],
        "mask": encode_mask(probabilities.argmax(axis=-1).astype(np.uint8)),
    }
