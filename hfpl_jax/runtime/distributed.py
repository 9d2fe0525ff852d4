"""The processes of one run: starting them, dividing work among them, waiting for each
other, adding up what each counted.

A run on several hosts is the same command on every host, on one workdir that all of
them see. They train in step, on the global batch. Everything else they do each for
itself, on its share of the photographs and on its own devices, and meet at the end of a
stage; what there is one of (metrics, report, the description of an export) the first
one writes. One process alone has all of it to do.
"""

import concurrent.futures
import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from hfpl_jax.errors import InputError

HEARTBEAT_S = 60
"""A process that is silent for so long is taken for dead, and the others stop."""

_PATIENCE_MS = (
    7 * 24 * 3600 * 1000
)  # how long the others may work while one waits; a dead one is noticed by its silence
_STOPPING_MS = 10_000  # how long one that was asked to stop waits for the others to be asked
_meetings = itertools.count()


def start(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Makes this process one of several; to be called before anything asks JAX for a
    device.

    Args:
      coordinator: host and port of process 0; None where the cluster (TPU pod, Slurm,
        MPI, Kubernetes) tells.
      processes: how many there are; None likewise.
      process: the number of this one; None likewise.

    Raises:
      InputError: nothing tells, or the others do not come.
    """
    try:
        jax.distributed.initialize(
            coordinator, processes, process, heartbeat_timeout_seconds=HEARTBEAT_S
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"The processes of this run do not find each other ({str(error).splitlines()[0]}). On "
            "a TPU pod or under Slurm --distributed "
            "is enough; elsewhere start every process with --coordinator=HOST:PORT "
            "--processes=COUNT --process=NUMBER, the number from 0."
        ) from error


def needs_distributed(environment: Mapping[str, str] = os.environ) -> str:
    """Why this process, started without --distributed, seems to be one of several; ""
    if it does not.
    """
    tasks = environment.get("SLURM_NTASKS", "1")
    if "SLURM_PROCID" in environment and tasks != "1":
        return f"Slurm started {tasks} tasks"
    return ""


def several() -> bool:
    """Whether this process is one of several. Asks for no device where none was started
    as such, so it can be called whatever has failed.
    """
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that talks, and writes what there is one of."""
    return jax.process_index() == 0


def share(items: Sequence) -> Sequence:
    """This process's part of `items`: every n-th one, so that the parts of a sorted
    split are alike.
    """
    return items[jax.process_index() :: jax.process_count()]


def meet() -> None:
    """Waits until every process is here, and so has written what it was to write."""
    _wait(f"hfpl_jax meeting {next(_meetings)}", _PATIENCE_MS)


def _wait(key: str, timeout_ms: int) -> None:
    """For all to come to this key. In a thread of its own, for no signal reaches one
    that waits within JAX.
    """
    barrier = multihost.get_barrier_sync_fn()
    passed: concurrent.futures.Future[None] = concurrent.futures.Future()

    def wait() -> None:
        try:
            passed.set_result(barrier(key=key, timeout_ms=timeout_ms))
        except Exception as error:
            passed.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    passed.result()


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """Process 0 runs the block while the others wait; then they run it, and find what
    it left.
    """
    if not is_first():
        meet()
    yield
    if is_first():
        meet()


def total(counts: np.ndarray) -> np.ndarray:
    """The sum of every process's `counts`, the same on all of them; exact for integers
    of any width.
    """
    if jax.process_count() == 1:
        return counts
    # As bytes: JAX would make 32-bit numbers of 64-bit ones.
    gathered = np.asarray(
        multihost_utils.process_allgather(np.ascontiguousarray(counts).view(np.uint8))
    )
    return np.ascontiguousarray(gathered).view(counts.dtype).sum(axis=0)


def lost_another(error: Exception) -> bool:
    """Whether an error means that another process is gone."""
    signs = (
        "heartbeat",
        "Barrier failed",
        "Connection closed by peer",
        "Connection reset by peer",
        "task is set to ERROR",
    )
    return isinstance(error, jax.errors.JaxRuntimeError) and any(
        sign in str(error) for sign in signs
    )


def leave_together(status: int) -> None:
    """Ends this process: with the others if they were asked to stop too, else after a
    few seconds.
    """
    if several():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            _wait("hfpl_jax stopping", _STOPPING_MS)
        if is_first():
            time.sleep(1.0)  # to those who lose the first process first, this is a failure
    leave(status)


def leave(status: int) -> None:
    """Ends this process; at once if there are others, since an orderly end would wait
    for them and they for it.
    """
    sys.stderr.flush()
    sys.stdout.flush()
    if several():
        os._exit(status)
    sys.exit(status)
