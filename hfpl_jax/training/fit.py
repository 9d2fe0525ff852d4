"""One training from its start, or from where it was stopped, to its last step: the same for every network of the road."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from hfpl_jax.methods.method import Method
from hfpl_jax.training import checkpoint
from hfpl_jax.training.loop import train
from hfpl_jax.training.mesh import data_mesh, replicated
from hfpl_jax.training.optimizer import make_optimizer, poly_schedule
from hfpl_jax.training.step import make_train_step, new_state

_LOG = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Fit:
    """What is trained, on what, and how long.

    Attributes:
      network: a Linen module.
      method: its loss.
      variables: its parameters and statistics at the start.
      batches: `batches(k)` yields the batches of steps k, k + 1, ...
      section: name of the configuration's section that holds `settings`, for messages.
      settings: learning_rate, power, momentum, weight_decay, clip, no_decay, multipliers, freeze, batch_size, init_from.
      steps: number of steps.
      schedule_steps: T of the schedule lr (1 - t / T)^power.
    """

    network: nn.Module
    method: Method
    variables: Callable[[], dict]
    batches: Callable[[int], Iterator[Mapping[str, np.ndarray]]]
    section: str
    settings: ConfigDict
    steps: int
    schedule_steps: int


def fit(job: Fit, folder: pathlib.Path, *, seed: int, run: ConfigDict) -> dict:
    """Trains, with checkpoints in `folder`; returns facts for the manifest. `run` is the configuration's section of that name."""
    settings = job.settings
    mesh = data_mesh(settings.batch_size, f"config.{job.section}.batch_size")
    _LOG.info(
        "%d steps of %d images, %d a device on %d devices.", job.steps, settings.batch_size, settings.batch_size // mesh.size, mesh.size
    )
    schedule = poly_schedule(settings.learning_rate, job.schedule_steps, settings.power)
    optimizer = make_optimizer(
        schedule,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        no_decay=settings.no_decay,
        multipliers=settings.multipliers,
        clip=settings.clip,
    )
    step = make_train_step(job.network, job.method, optimizer, schedule, freeze=settings.freeze, mesh=mesh)
    with checkpoint.open_manager(folder / CHECKPOINTS, every_steps=run.checkpoint_every, keep=run.keep_checkpoints) as manager:
        # Where the parameters come from, first match: 1. this run's own checkpoint; 2. init_from, another run's parameters;
        # 3. config.model.weights, for the backbone; 4. random numbers.
        variables = job.variables()
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
            job.batches,
            manager,
            directory=folder,
            mesh=mesh,
            key=jax.device_put(jax.random.fold_in(jax.random.key(seed), 1), replicated(mesh)),
            steps=job.steps,
            batch_size=settings.batch_size,
            log_every=run.log_every,
        )
    return {"steps": job.steps}
