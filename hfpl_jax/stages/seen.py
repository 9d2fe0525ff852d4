"""The CAMs of a later round: what the final network of the round before sees of each
photograph's classes.
"""

import functools

import numpy as np

from hfpl_jax.inference.multi_scale import photograph_sizes
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.predictor import write_records
from hfpl_jax.inference.seen import seen_cams
from hfpl_jax.settings.training import FinalCrf
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.predictions import final_predictor


def run(context: Context) -> dict:
    config, dataset = context.config, context.dataset
    predictor = final_predictor(context.of_round(context.round - 1))
    looks = predictor.settings
    crf = FinalCrf.of(config.segmentation.crf)
    splits = {name: dataset.split(name) for name in dict.fromkeys(context.roles.values())}
    sizes = {name: photograph_sizes(split, looks) for name, split in splits.items()}
    everywhere = [size for of_split in sizes.values() for size in of_split.values()]
    shapes = plan_shapes(np.asarray(everywhere, np.int64), config.run.padded_shapes)
    merge = functools.partial(
        seen_cams,
        views=looks.views,
        predicted=config.inference.image_labels == "predicted",
        crf=crf.sharpened if crf.iterations else None,
    )
    return {
        name: write_records(
            predictor,
            split,
            context.folder / name,
            merge=merge,
            sizes=sizes[name],
            shapes=shapes,
            shard_size=config.run.shard_size,
            title=f"maps of {name}",
        )
        for name, split in splits.items()
    }
