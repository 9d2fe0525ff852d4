"""One training from its start, or from where it was stopped, to its last step: the same for every network of the road."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Sequence

import flax.linen as nn
import grain
import jax
from ml_collections import ConfigDict

from hfpl_jax.data.batches import batch_stream
from hfpl_jax.methods.method import Method
from hfpl_jax.training import checkpoint
from hfpl_jax.training.loop import train
from hfpl_jax.training.mesh import data_mesh, replicated
from hfpl_jax.training.optimizer import make_optimizer, poly_schedule
from hfpl_jax.training.step import make_train_step, new_state

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Fit:
    """What is trained, on what, and how long.

    Attributes:
      network: a Linen module.
      method: its loss.
      variables: its parameters and statistics at the start.
      source: random access to the elements it learns from.
      transform: one of them -> a randomly augmented element of a batch.
      section: name of the configuration's section that holds `settings`, for messages.
      settings: learning_rate, power, momentum, weight_decay, clip, no_decay, multipliers, freeze, batch_size, epochs, init_from.
      schedule_tail: the schedule lr (1 - t / T)^power would reach 0 so many steps after the last one.
    """

    network: nn.Module
    method: Method
    variables: Callable[[], dict]
    source: Sequence
    transform: grain.transforms.RandomMap
    section: str
    settings: ConfigDict
    schedule_tail: int = 0

    @property
    def steps(self) -> int:
        return max(1, len(self.source) // self.settings.batch_size) * self.settings.epochs


def fit(job: Fit, folder: pathlib.Path, *, seed: int, run: ConfigDict) -> dict:
    """Trains, with checkpoints in `folder`; returns facts for the manifest. `run` is the configuration's section of that name."""
    settings = job.settings
    mesh = data_mesh(settings.batch_size, f"config.{job.section}.batch_size")
    _LOG.info(
        "%d steps of %d images, %d a device on %d devices.", job.steps, settings.batch_size, settings.batch_size // mesh.size, mesh.size
    )
    batches = functools.partial(
        batch_stream,
        job.source,
        job.transform,
        batch_size=settings.batch_size,
        seed=seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=run.num_workers,
    )
    schedule = poly_schedule(settings.learning_rate, job.steps + job.schedule_tail, settings.power)
    optimizer = make_optimizer(
        schedule,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        no_decay=settings.no_decay,
        multipliers=settings.multipliers,
        clip=settings.clip,
    )
    step = make_train_step(job.network, job.method, optimizer, schedule, freeze=settings.freeze, mesh=mesh)
    with checkpoint.open_manager(folder, every_steps=run.checkpoint_every, keep=run.keep_checkpoints) as manager:
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
                variables = checkpoint.restore_variables(settings.init_from, variables, replicated(mesh))
                state = new_state(variables, optimizer, settings.freeze)
            state = jax.device_put(state, replicated(mesh))
        train(
            state,
            step,
            lambda start: batches(start_step=start),
            manager,
            directory=folder,
            mesh=mesh,
            key=jax.device_put(jax.random.fold_in(jax.random.key(seed), 1), replicated(mesh)),
            steps=job.steps,
            batch_size=settings.batch_size,
            log_every=run.log_every,
        )
    return {"steps": job.steps}
