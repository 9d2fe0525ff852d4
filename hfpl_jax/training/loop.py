"""The training loop: next batch, step, save; the metrics of a step are read while the
next one runs.
"""

import contextlib
import logging
import math
import os
import pathlib
from collections.abc import Callable, Mapping

import jax
import orbax.checkpoint as ocp

from hfpl_jax.data.batches import BatchStream
from hfpl_jax.runtime import distributed
from hfpl_jax.runtime.observation import waited_for
from hfpl_jax.runtime.progress import Meter
from hfpl_jax.runtime.sharding import Mesh, put_batch
from hfpl_jax.runtime.termination import Stopped, put_off
from hfpl_jax.training.leaps import LossWatch, leap_notice
from hfpl_jax.training.metric_log import MetricLog
from hfpl_jax.training.step import TrainState

_LOG = logging.getLogger(__name__)

_COUNTS = ("skipped_steps",)
"""Metrics of which a row holds the sum over its steps; of all others it is the mean."""


class TrainingDiverged(RuntimeError):
    """The loss, or its gradient, is no longer a finite number."""


def _read(step: int, metrics: Mapping[str, jax.Array], section: str) -> dict[str, float]:
    row = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
    # A finite loss can have a gradient that is not, and then the parameters after the
    # step are lost.
    if not all(math.isfinite(value) for value in row.values()):
        terms = ", ".join(f"{name} {value}" for name, value in row.items())
        raise TrainingDiverged(
            f"Step {step} is not finite ({terms}). Lower config.{section}.learning_rate, shorten "
            f"long gradients by config.{section}.clip, "
            "or look at the data of that step; running the command again resumes from the last "
            "checkpoint."
        )
    return row


class _Mean:
    """Mean of each metric over the steps added since the last `take`; sum of a
    count.
    """

    def __init__(self):
        self._rows: list[Mapping[str, float]] = []

    def add(self, row: Mapping[str, float]) -> None:
        self._rows.append(row)

    def take(self) -> dict[str, float]:
        rows, self._rows = self._rows, []
        sums = {name: sum(row[name] for row in rows) for name in rows[-1]}
        return {name: total / (1 if name in _COUNTS else len(rows)) for name, total in sums.items()}


def train(
    state: TrainState,
    step_fn: jax.stages.Wrapped,
    batches: Callable[[int], BatchStream],
    manager: ocp.CheckpointManager,
    *,
    directory: str | os.PathLike,
    mesh: Mesh,
    key: jax.Array,
    steps: int,
    batch_size: int,
    log_every: int,
    section: str,
) -> TrainState:
    """Trains from `state.step` up to `steps`.

    Args:
      step_fn: of `make_train_step`.
      batches: `batches(k)` yields the batches of steps k, k + 1, ...: the same ones
        whether or not a run was interrupted. Its iterators have `close()`.
      manager: decides which steps are saved; the last one always is.
      directory: for the logs.
      section: name of the configuration's section that sets the learning rate, for
        messages.

    Raises:
      TrainingDiverged: the loss or its gradient became infinite or NaN; the message
        names the step.
      Stopped: SIGTERM came; the step it came in is saved.
    """
    start = int(state.step)
    since_row = _Mean()
    take_step: Callable = step_fn
    previous: Mapping[str, jax.Array] | None = None
    note, warned = "", False

    def collect(step: int, metrics: Mapping[str, jax.Array], *, saved: bool = False) -> None:
        nonlocal note, warned
        row = _read(step, metrics, section)
        since_row.add(row)
        # A row ends with every checkpoint: a resumed run has no metrics of steps
        # before.
        if step % log_every == 0 or saved:
            mean = since_row.take()
            if log:
                log.write(step, mean)
                watch.add(log.rows[-1])
                if not warned and (notice := leap_notice(watch, section)):
                    _LOG.warning(notice)
                    warned = True
            note = f"loss {mean['loss']:.4f}"

    with (
        contextlib.closing(MetricLog(pathlib.Path(directory), start))
        if distributed.is_first()
        else contextlib.nullcontext() as log,
        contextlib.closing(batches(start)) as stream,  # ends its worker processes
        put_off(manager) as stop_after,
        Meter("train", steps * batch_size, done=start * batch_size) as meter,
        # Inside the guard, a transfer that nobody wrote down is an error, not a slow
        # step.
        jax.transfer_guard("disallow"),
    ):
        watch = LossWatch(log.rows if log else ())
        for step, host_batch in zip(range(start + 1, steps + 1), waited_for(stream), strict=False):
            batch = put_batch(mesh, host_batch)
            if step == start + 1 and jax.process_count() > 1:
                # One that finds the program in the cache must not begin while another
                # still compiles it: it would wait in its first sum, and give up after
                # 30 seconds.
                take_step = step_fn.lower(state, batch, key).compile()
                distributed.meet()
            state, metrics = take_step(state, batch, key)
            if previous is not None:
                # One step late, so that the device never waits for the host.
                collect(step - 1, previous)
            previous = metrics
            stopping = stop_after(step)
            if manager.should_save(step) or stopping or step == steps:
                # First, as a checkpoint of a state that is not finite is worth nothing.
                collect(step, metrics, saved=True)
                previous = None
                manager.save(step, args=ocp.args.StandardSave(state), force=True)
            meter.advance(batch_size, note=note)
            if stopping:
                manager.wait_until_finished()
                raise Stopped
    manager.wait_until_finished()
    _LOG.info("Trained to step %d.", steps)
    return state
