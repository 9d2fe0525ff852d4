"""One training from its start, or from where it was stopped, to its last step: the same
for every network of the pipeline.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import grain
import jax
from ml_collections import ConfigDict

from hfpl_jax.data.batches import BatchStream
from hfpl_jax.data.sources import Source, batch_shapes, joint_stream
from hfpl_jax.runtime.sharding import Mesh, data_mesh, replicated_key, state_sharding
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
      variables: `variables(shardings)`, its parameters and statistics at the start,
        where a tree of shardings of that structure says; not called where a training
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
    variables: Callable[[dict], dict]
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
    """What a training works with: the mesh, the optimizer and its schedule, where the
    state lives.
    """

    def __init__(self, job: Fit, run: ConfigDict, devices: Sequence[jax.Device] | None = None):
        settings = job.settings
        field = f"config.{job.section}.batch_size"
        self.source = Source(job.source, job.transform, settings.batch_size, field, job.rows)
        self.mesh, *_ = (
            data_mesh(each.batch_size, each.field, rows=each.rows, devices=devices)
            for each in (self.source, *job.beside.values())
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
        self.first_state = functools.partial(
            new_state, optimizer=self.optimizer, freeze=job.freeze, objective=job.objective
        )
        self.shapes: TrainState = jax.eval_shape(self.first_state, job.shapes())
        place = functools.partial(state_sharding, self.mesh, sharded=run.shard_parameters)
        self.shardings, self.of_variables = place(self.shapes), place(job.shapes())

    def batches(self, job: Fit, seed: int, num_workers: int, start: int) -> BatchStream:
        """From step `start` on."""
        return joint_stream(
            self.source,
            job.beside,
            seed=seed,
            start_step=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_workers=num_workers,
        )

    def step(self, job: Fit) -> jax.stages.Wrapped:
        return make_train_step(
            job.network,
            job.objective,
            self.optimizer,
            self.schedule,
            steps=job.steps,
            freeze=job.freeze,
            mesh=self.mesh,
            shardings=self.shardings,
            skip_above=job.settings.skip_above,
        )


def fit(job: Fit, folder: pathlib.Path, *, seed: int, run: ConfigDict) -> dict:
    """Trains, with checkpoints in `folder`; returns facts for the manifest. `run` is
    the configuration's section of that name.
    """
    settings, equipment = job.settings, _Equipment(job, run)
    mesh = equipment.mesh
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
        state = checkpoint.restore_latest(manager, equipment.shapes, equipment.shardings)
        if state is not None:
            _LOG.info("Resuming at step %d.", int(state.step))
        else:
            of_variables = equipment.of_variables
            variables = (
                checkpoint.restore_variables(settings.init_from, job.shapes(), of_variables)
                if settings.init_from
                else job.variables(of_variables)
            )
            # In parts from the first: no device ever holds what is divided among several.
            first_state = jax.jit(
                equipment.first_state, out_shardings=equipment.shardings, donate_argnums=0
            )
            state = first_state(variables)
        train(
            state,
            equipment.step(job),
            lambda start: equipment.batches(job, seed, run.num_workers, start),
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


class Traced(NamedTuple):
    """A training's step before it is compiled: `program` as JAX has traced it, for the
    devices of `mesh`, and how many parameters are trained and left as they are.
    """

    program: jax.stages.Traced
    mesh: Mesh
    trained: int
    frozen: int


def traced_step(
    job: Fit, *, run: ConfigDict, devices: Sequence[jax.Device] | None = None
) -> Traced:
    """One step of a training, of shapes alone.

    Args:
      run: the configuration's section of that name.
      devices: those that share a batch; None for all that there are.

    Raises:
      InputError: the batch does not divide into the devices.
    """
    equipment = _Equipment(job, run, devices)
    batch = batch_shapes(equipment.source, job.beside)
    key = jax.eval_shape(lambda: jax.random.key(0))
    program = equipment.step(job).trace(equipment.shapes, batch, key)
    trained, frozen = (
        sum(leaf.size for leaf in part.values())
        for part in split_frozen(equipment.shapes.params, job.freeze)
    )
    return Traced(program, equipment.mesh, trained, frozen)


def describe(job: Fit, *, run: ConfigDict) -> str:
    """What a training would take on these devices, from its compiled step; nothing is
    trained.
    """
    step = traced_step(job, run=run)
    compiled, devices = step.program.lower().compile(), step.mesh.size
    flops, batch_size = compiled.cost_analysis()["flops"] * devices, job.settings.batch_size
    return (
        f"{step.trained + step.frozen:,} parameters, {step.trained:,} of them trained\n"
        f"{job.steps:,} steps of {batch_size} images, {batch_size // devices} a device on "
        f"{devices} devices\n"
        f"{flops / 1e9:,.1f} GFLOP a step, {flops * job.steps / 1e15:,.2f} PFLOP in all\n"
        f"{memory_needed(compiled) / 1e6:,.0f} MB a device"
    )


def memory_needed(compiled: jax.stages.Compiled) -> int:
    """Bytes that a program takes of each device."""
    memory = compiled.memory_analysis()
    assert memory is not None
    return (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
