"""Makes the CAMs of the splits that are scored or labelled: one folder of records a
split.
"""

import logging
from typing import Any

import numpy as np

from hfpl_jax.build import build_method, build_network, trained_variables
from hfpl_jax.inference.cams import (
    cam_mesh,
    cam_predictor,
    stored_cam_predictor,
    write_cams,
)
from hfpl_jax.inference.multi_scale import MultiScale, photograph_sizes
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.stages import features
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.notices import NOTICES

_LOG = logging.getLogger(__name__)


def run(context: Context) -> dict:
    config, settings = context.config, context.config.inference
    multi_scale = MultiScale.of(settings, flip=settings.flip, batch_size=config.run.cam_batch_size)
    method, num_classes = build_method(config), len(context.dataset.class_names)
    mesh = cam_mesh(method, multi_scale, "config.run.cam_batch_size")
    network = build_network(config, num_classes)
    variables = trained_variables(network, context.workdir / "train", mesh)
    names = tuple(dict.fromkeys(context.roles.values()))
    if features.serve_cams(config):
        given = {name: features.stored(context, name) for name in names}
        predictor = stored_cam_predictor(network, method, variables, multi_scale, mesh, given)
    else:
        predictor = cam_predictor(network, method, variables, multi_scale, mesh)
    splits = {name: context.dataset.split(name) for name in names}
    sizes = {name: photograph_sizes(split, multi_scale) for name, split in splits.items()}
    # Shapes are shared by all splits: their number times the number of scales is the
    # number of compilations.
    shapes = plan_shapes(
        np.asarray([size for of_split in sizes.values() for size in of_split.values()], np.int64),
        config.run.padded_shapes,
    )
    _LOG.info(
        "Padded shapes at scale 1: %s.", ", ".join(f"{height}x{width}" for height, width in shapes)
    )
    facts: dict[str, Any] = {
        name: write_cams(
            predictor,
            split,
            context.folder / name,
            method=method,
            num_classes=num_classes,
            image_labels=settings.image_labels,
            sizes=sizes[name],
            shapes=shapes,
            shard_size=config.run.shard_size,
        )
        for name, split in splits.items()
    }
    return {**facts, NOTICES: features.size_notices(config)}
