"""The final network's label maps of the val split, and their score: what the whole
pipeline leads to.
"""

import functools

import numpy as np

from hfpl_jax.build import build_final_networks, trained_variables
from hfpl_jax.data.example import encode_mask
from hfpl_jax.inference.multi_scale import MultiScale, Photograph, photograph_sizes
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.predictor import Predictor, write_records
from hfpl_jax.inference.segmentation import probabilities_of, segmentation_predictor
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.settings.training import FinalCrf
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.scoring import score_masks


def run(context: Context) -> dict:
    config, settings = context.config, context.config.segmentation
    split = context.dataset.split(config.data.val_split)
    predictor = final_predictor(context)
    looks, crf = predictor.settings, FinalCrf.of(settings.crf)
    sizes = photograph_sizes(split, looks)
    write_records(
        predictor,
        split,
        context.folder / split.name,
        merge=functools.partial(
            _label_map, views=looks.views, crf=crf.sharpened if crf.iterations else None
        ),
        sizes=sizes,
        shapes=plan_shapes(np.asarray(list(sizes.values()), np.int64), config.run.padded_shapes),
        shard_size=config.run.shard_size,
        title=f"label maps of {split.name}",
    )
    return score_masks(context, "segmentation")


def final_predictor(context: Context) -> Predictor:
    """The final network of the context's round, and how it looks at photographs."""
    config, settings = context.config, context.config.segmentation
    looks = MultiScale.of(settings, flip=True, batch_size=config.run.cam_batch_size)
    mesh = local_mesh(looks.batch_size, "config.run.cam_batch_size", views=looks.views)
    network = build_final_networks(config, len(context.dataset.class_names))
    variables = trained_variables(network, context.workdir / "segmentation", mesh)
    return segmentation_predictor(network, variables, looks, mesh)


def _label_map(
    index: int,
    example: Photograph,
    maps: list[np.ndarray],
    scaled_sizes: list[tuple[int, int]],
    **options,
) -> dict:
    probabilities = probabilities_of(example, maps, scaled_sizes, **options)
    return {
        "index": index,
        "file_name": example.file_name,
        "labels": [int(label) for label in example.labels],
        "mask": encode_mask(probabilities.argmax(axis=-1).astype(np.uint8)),
    }
