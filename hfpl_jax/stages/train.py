"""Trains the classifier whose CAMs become pseudo-labels."""

import functools
import logging

import jax

from hfpl_jax.build import build_method, build_network, initial_variables
from hfpl_jax.data.batches import train_batches
from hfpl_jax.stages.context import Context
from hfpl_jax.training.fit import Fit, fit

_LOG = logging.getLogger(__name__)


def run(context: Context) -> dict:
    config, settings = context.config, context.config.train
    num_classes = len(context.dataset.class_names)
    split = context.dataset.split(config.data.train_split)
    _LOG.info("Training on %d photographs of %d classes.", len(split), num_classes)
    network = build_network(config, num_classes)
    steps = max(1, len(split) // settings.batch_size) * settings.epochs
    job = Fit(
        network=network,
        method=build_method(config),
        variables=functools.partial(initial_variables, config, network),
        batches=functools.partial(_batches, split=split, config=config, num_classes=num_classes),
        section="train",
        settings=settings,
        steps=steps,
        schedule_steps=steps,
    )
    return fit(job, context.folder, seed=config.seed, run=config.run)


def _batches(start_step: int, *, split, config, num_classes):
    settings = config.train
    return train_batches(
        split,
        num_classes=num_classes,
        batch_size=settings.batch_size,
        crop_size=settings.crop_size,
        resize_long=tuple(settings.resize_long),
        jitter=settings.jitter,
        seed=config.seed,
        start_step=start_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=config.run.num_workers,
    )
