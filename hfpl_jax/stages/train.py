"""Trains the classifier whose CAMs become pseudo-labels."""

import functools
import logging
from typing import Any

from hfpl_jax.build import (
    build_method,
    build_network,
    build_objective,
    frozen_patterns,
    frozen_variables,
    initial_variables,
    variable_shapes,
)
from hfpl_jax.data.batches import TrainCrop
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.features import stored, unstored
from hfpl_jax.stages.neighbours import nearest_photographs
from hfpl_jax.stages.pretrain import folder as pretraining
from hfpl_jax.training.fit import Fit, fit

_LOG = logging.getLogger(__name__)


def run(context: Context) -> dict:
    return fit(job(context), context.folder, seed=context.config.seed, run=context.config.run)


def job(context: Context, *, dry: bool = False) -> Fit:
    """The training that a configuration asks for; `dry`, where no stage before it has
    run.
    """
    config, settings = context.config, context.config.train
    num_classes = len(context.dataset.class_names)
    split = context.dataset.split(config.data.train_split)
    _LOG.info("Training on %d photographs of %d classes.", len(split), num_classes)
    network, method = build_network(config, num_classes), build_method(config)
    before: dict[str, Any] = {}
    if method.by_likeness:
        before["alike"] = {} if dry else nearest_photographs(context.workdir / "neighbours")
    if method.frozen:
        before["stored"] = (unstored if dry else stored)(context, config.data.train_split)
    crop = TrainCrop(num_classes, settings.crop_size, tuple(settings.resize_long), settings.jitter)
    return Fit(
        network=network,
        objective=build_objective(config),
        variables=(
            functools.partial(frozen_variables, config, network)
            if method.frozen
            else functools.partial(initial_variables, config, network, pretraining(context))
        ),
        shapes=functools.partial(variable_shapes, network),
        source=method.elements(split, **before),
        transform=method.transform(crop),
        rows=method.rows,
        section="train",
        settings=settings,
        freeze=frozen_patterns(config, "train", network),
        class_names=context.dataset.class_names,
    )
