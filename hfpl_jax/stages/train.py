"""Trains the classifier whose CAMs become pseudo-labels."""

import functools
import logging

import jax

from hfpl_jax.build import build_method, build_network, initial_variables
from hfpl_jax.data.batches import train_batches
from hfpl_jax.stages.context import Context
from hfpl_jax.training import checkpoint
from hfpl_jax.training.loop import train
from hfpl_jax.training.mesh import data_mesh, replicated
from hfpl_jax.training.optimizer import make_optimizer, poly_schedule
from hfpl_jax.training.step import make_train_step, new_state

_LOG = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


def run(context: Context) -> dict:
    config, settings = context.config, context.config.train
    num_classes = len(context.dataset.class_names)
    split = context.dataset.split(config.data.train_split)
    mesh = data_mesh(settings.batch_size, "config.train.batch_size")
    steps = max(1, len(split) // settings.batch_size) * settings.epochs
    _LOG.info(
        "Training on %d photographs of %d classes: %d steps of %d images, %d a device on %d devices.",
        len(split),
        num_classes,
        steps,
        settings.batch_size,
        settings.batch_size // mesh.size,
        mesh.size,
    )

    network, method = build_network(config, num_classes), build_method(config)
    schedule = poly_schedule(settings.learning_rate, steps, settings.power)
    optimizer = make_optimizer(schedule, momentum=settings.momentum, weight_decay=settings.weight_decay, multipliers=settings.multipliers)
    step = make_train_step(network, method, optimizer, schedule, freeze=settings.freeze, mesh=mesh)

    with checkpoint.open_manager(
        context.folder / CHECKPOINTS, every_steps=config.run.checkpoint_every, keep=config.run.keep_checkpoints
    ) as manager:
        # Where the parameters come from, first match: 1. this run's own checkpoint; 2. config.train.init_from, another run's
        # parameters; 3. config.model.weights, for the backbone; 4. random numbers.
        variables = initial_variables(config, network)
        state = new_state(variables, optimizer, settings.freeze)
        restored = checkpoint.restore_latest(manager, state, replicated(mesh))
        if restored is not None:
            _LOG.info("Resuming at step %d.", int(restored.step))
            state = restored
        else:
            if settings.init_from:
                variables = checkpoint.restore_variables(f"{settings.init_from}/{CHECKPOINTS}", variables, replicated(mesh))
                state = new_state(variables, optimizer, settings.freeze)
            state = jax.device_put(state, replicated(mesh))
        train(
            state,
            step,
            functools.partial(
                _batches,
                split=split,
                config=config,
                num_classes=num_classes,
            ),
            manager,
            directory=context.folder,
            mesh=mesh,
            key=jax.device_put(jax.random.fold_in(jax.random.key(config.seed), 1), replicated(mesh)),
            steps=steps,
            batch_size=settings.batch_size,
            log_every=config.run.log_every,
        )
    return {"steps": steps}


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
