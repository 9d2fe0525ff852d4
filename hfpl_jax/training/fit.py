"""One training from its start, or from where it was stopped, to its last step: the same
for every network of the pipeline.
"""

import contextlib
import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import grain
import jax
from ml_collections import ConfigDict

from hfpl_jax.data.sources import Source, joint_stream
from hfpl_jax.runtime.sharding import (
    data_mesh,
    put_batch,
    replicated,
    replicated_key,
    state_sharding,
)
from hfpl_jax.training import checkpoint
from hfpl_jax.training.class_names import write_class_names
from hfpl_jax.training.leaps import LossWatch, leap_notice, skipped_notice
from hfpl_jax.training.loop import train
from hfpl_jax.training.metric_log import read_rows
from hfpl_jax.training.objective import Objective
from hfpl_jax.training.optimizer import OPTIMIZERS, make_optimizer, split_frozen
from hfpl_jax.training.schedule import SCHEDULES
from hfpl_jax.training.step import TrainState, make_train_step, new_state

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Fit:
    """What is trained, on what, and how long.

    Attributes:
      network: a Linen module; of several networks, their parent.
      objective: what it is trained for.
      variables: its parameters and statistics at the start; not called where a training
        resumes, as the file to start from may be missing by then.
      shapes: the same, as shapes alone.
      source: random access to the elements it learns from; epochs are counted by it.
      transform: one of them -> a randomly augmented element of a batch.
      section: name of the configuration's section that holds `settings`, for messages.
      settings: learning_rate, optimizer and schedule with the sections of the chosen
        ones, weight_decay, clip, no_decay, multipliers, batch_size, epochs, init_from,
        skip_above.
      beside: the other sources of every batch, by name.
      rows: of a batch that an element of `source` becomes.
      freeze: patterns of the paths of parameters that are not trained.
      class_names: of the classes it predicts, kept beside the checkpoints; none where
        it predicts no classes.
      schedule_tail: the schedule would reach its end so many steps after the last one.
    """

    network: nn.Module
    objective: Objective
    variables: Callable[[], dict]
    shapes: Callable[[], dict]
    source: Sequence
    transform: grain.transforms.RandomMap
    section: str
    settings: ConfigDict
    beside: Mapping[str, Source] = dataclasses.field(default_factory=dict)
    rows: int = 1
    freeze: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    schedule_tail: int = 0

    @property
    def steps(self) -> int:
        an_epoch = max(1, len(self.source) * self.rows // self.settings.batch_size)
        return an_epoch * self.settings.epochs


class _Equipment:
    """What a training works with: the mesh, its batches from any step on, the optimizer
    and its schedule.
    """

    def __init__(self, job: Fit, seed: int, run: ConfigDict):
        settings = job.settings
        field = f"config.{job.section}.batch_size"
        source = Source(job.source, job.transform, settings.batch_size, field, job.rows)
        self.mesh = data_mesh(source.batch_size, source.field, rows=source.rows)
        for other in job.beside.values():
            data_mesh(other.batch_size, other.field, rows=other.rows)
        self.batches = functools.partial(
            joint_stream,
            source,
            job.beside,
            seed=seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_workers=run.num_workers,
        )
        schedule = SCHEDULES[settings.schedule].of(settings[settings.schedule])
        self.schedule = schedule.of_steps(settings.learning_rate, job.steps + job.schedule_tail)
        one = make_optimizer(
            OPTIMIZERS[settings.optimizer].of(settings[settings.optimizer]),
            self.schedule,
            weight_decay=settings.weight_decay,
            no_decay=settings.no_decay,
            multipliers=settings.multipliers,
            clip=settings.clip,
        )
        self.optimizer = job.objective.optimizer(one, job.steps)

    def state_shapes(self, job: Fit) -> TrainState:
        return jax.eval_shape(
            lambda variables: new_state(variables, self.optimizer, job.freeze, job.objective),
            job.shapes(),
        )

    def step(self, job: Fit, shardings: TrainState):
        return make_train_step(
            job.network,
            job.objective,
            self.optimizer,
            self.schedule,
            steps=job.steps,
            freeze=job.freeze,
            mesh=self.mesh,
            shardings=shardings,
            skip_above=job.settings.skip_above,
        )


def fit(job: Fit, folder: pathlib.Path, *, seed: int, run: ConfigDict) -> dict:
    """Trains, with checkpoints in `folder`; returns facts for the manifest. `run` is
    the configuration's section of that name.
    """
    settings, equipment = job.settings, _Equipment(job, seed, run)
    mesh, optimizer = equipment.mesh, equipment.optimizer
    _LOG.info(
        "%d steps of %d images, %d a device on %d devices.",
        job.steps,
        settings.batch_size,
        settings.batch_size // mesh.size,
        mesh.size,
    )
    write_class_names(folder, job.class_names)
    with checkpoint.open_manager(
        folder, every_steps=run.checkpoint_every, keep=run.keep_checkpoints
    ) as manager:
        # Where the parameters come from, first match: 1. this run's own checkpoint; 2.
        # init_from, another run's parameters; 3. config.model.weights, for the
        # backbone; 4. random numbers.
        shapes = equipment.state_shapes(job)
        shardings = state_sharding(mesh, shapes, sharded=run.shard_parameters)
        state = checkpoint.restore_latest(manager, shapes, shardings)
        if state is not None:
            _LOG.info("Resuming at step %d.", int(state.step))
        else:
            variables = (
                checkpoint.restore_variables(settings.init_from, job.shapes(), replicated(mesh))
                if settings.init_from
                else job.variables()
            )
            state = new_state(variables, optimizer, job.freeze, job.objective)
            state = jax.device_put(
                jax.device_get(state), shardings
            )  # by way of the host: no device holds what goes to other hosts
        train(
            state,
            equipment.step(job, shardings),
            lambda start: equipment.batches(start_step=start),
            manager,
            directory=folder,
            mesh=mesh,
            key=replicated_key(mesh, seed),
            steps=job.steps,
            batch_size=settings.batch_size,
            log_every=run.log_every,
            section=job.section,
        )
    rows = read_rows(folder)
    notices = (
        leap_notice(LossWatch(rows), job.section),
        skipped_notice(rows, job.section, job.steps),
    )
    return {"steps": job.steps, "notices": [notice for notice in notices if notice]}


def describe(job: Fit, *, seed: int, run: ConfigDict) -> str:
    """What a training would take, from its step compiled for one real batch; nothing is
    trained.
    """
    settings, equipment = job.settings, _Equipment(job, seed, run)
    mesh = equipment.mesh
    state = equipment.state_shapes(job)
    shardings = state_sharding(mesh, state, sharded=run.shard_parameters)
    with contextlib.closing(equipment.batches()) as stream:
        batch = put_batch(mesh, next(stream))
    compiled = (
        equipment.step(job, shardings).lower(state, batch, replicated_key(mesh, seed)).compile()
    )
    flops, memory = compiled.cost_analysis()["flops"], compiled.memory_analysis()
    trainable, frozen = (
        sum(leaf.size for leaf in part.values()) for part in split_frozen(state.params, job.freeze)
    )
    needed = (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return (
        f"{trainable + frozen:,} parameters, {trainable:,} of them trained\n"
        f"{job.steps:,} steps of {settings.batch_size} images, {settings.batch_size // mesh.size} "
        f"a device on {mesh.size} devices\n"
        f"{flops * mesh.size / 1e9:,.1f} GFLOP a step, {flops * mesh.size * job.steps / 1e15:,.2f} "
        "PFLOP in all\n"
        f"{needed / 1e6:,.0f} MB a device"
    )
