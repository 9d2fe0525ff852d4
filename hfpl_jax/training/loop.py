"""The training loop: next batch, step, save; the metrics of a step are read while the next one runs."""

import logging
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp

from hfpl_jax.progress import Meter
from hfpl_jax.training.mesh import Mesh, put_batch
from hfpl_jax.training.metric_log import MetricLog
from hfpl_jax.training.step import TrainState

_LOG = logging.getLogger(__name__)

HostBatch = Mapping[str, np.ndarray]


class TrainingDiverged(RuntimeError):
    """The loss is no longer a finite number."""


class _Window:
    """Mean of each metric since the last row was written."""

    def __init__(self):
        self._rows: list[dict[str, float]] = []

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        row = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        if not math.isfinite(row["loss"]):
            terms = ", ".join(f"{name} {value}" for name, value in row.items())
            raise TrainingDiverged(
                f"The loss of step {step} is not finite ({terms}). Lower config.train.learning_rate, or look at the data of that step; "
                "running the command again resumes from the last checkpoint."
            )
        self._rows.append(row)

    def mean(self) -> dict[str, float]:
        return {name: sum(row[name] for row in self._rows) / len(self._rows) for name in self._rows[-1]}

    def clear(self) -> None:
        self._rows = []


def train(
    state: TrainState,
    step_fn: Callable[[TrainState, dict[str, jax.Array], jax.Array], tuple[TrainState, dict[str, jax.Array]]],
    batches: Callable[[int], Iterator[HostBatch]],
    manager: ocp.CheckpointManager,
    *,
    directory: str | os.PathLike,
    mesh: Mesh,
    key: jax.Array,
    steps: int,
    batch_size: int,
    log_every: int,
) -> TrainState:
    """Trains from `state.step` up to `steps`.

    Args:
      batches: `batches(k)` yields the batches of steps k, k + 1, ...: the same ones whether or not a run was interrupted.
      manager: decides which steps are saved; the last one always is.
      directory: for the logs.

    Raises:
      TrainingDiverged: the loss became infinite or NaN; the message names the step.
    """
    start = int(state.step)
    log, window = MetricLog(pathlib.Path(directory), start), _Window()
    stream = batches(start)
    previous: Mapping[str, jax.Array] | None = None
    last_mean: dict[str, float] = {"loss": math.inf}
    key = jax.device_put(key, mesh.devices.flat[0]) if mesh.size == 1 else key

    def collect(step: int, metrics: Mapping[str, jax.Array]) -> None:
        nonlocal last_mean
        window.add(step, metrics)
        if step % log_every == 0 or step == steps:
            last_mean = window.mean()
            log.write(step, last_mean)
            window.clear()

    # Inside the guard, a transfer that nobody wrote down is an error, not a slow step.
    with Meter("train", steps * batch_size, done=start * batch_size) as meter, jax.transfer_guard("disallow"):
        for step in range(start + 1, steps + 1):
            batch = put_batch(mesh, next(stream))
            state, metrics = step_fn(state, batch, key)
            if previous is not None:
                collect(step - 1, previous)  # one step late, so that the device never waits for the host
            previous = metrics
            if manager.should_save(step) or step == steps:
                collect(step, metrics)  # a checkpoint of a state that is not finite is worth nothing
                previous = None
                manager.save(step, args=ocp.args.StandardSave(state), metrics={"loss": last_mean["loss"]}, force=True)
            meter.advance(batch_size, note=f"loss {last_mean['loss']:.4f}" if math.isfinite(last_mean["loss"]) else "")
    manager.wait_until_finished()
    log.close()
    _LOG.info("Trained to step %d.", steps)
    return state
