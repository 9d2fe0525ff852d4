"""What SIGTERM does, which schedulers send before they kill: the work so far is saved and the command ends with status 0."""

import contextlib
import signal
from collections.abc import Callable, Iterator

import jax
import orbax.checkpoint as ocp


class Stopped(BaseException):
    """Like KeyboardInterrupt no error, so that nothing but the end of the command catches it."""


_requested = False
_deferred = False


def _on_signal(number: int, frame) -> None:
    global _requested
    _requested = True
    if not _deferred:
        raise Stopped


def listen() -> None:
    """From now on SIGTERM raises `Stopped` in the main thread, but for blocks that put it off.

    Several processes do not listen: JAX does for them, so that they can agree on the step after which all of them stop.
    """
    if jax.process_count() == 1:
        signal.signal(signal.SIGTERM, _on_signal)


def nothing_left_to_save() -> None:
    """From now on SIGTERM does nothing; otherwise one that comes in the last moment would make a finished run look killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def put_off(manager: ocp.CheckpointManager) -> Iterator[Callable[[int], bool]]:
    """Inside the block SIGTERM does nothing by itself; yields `stop_after(step)`, which says whether it has come.

    All processes ask after every step, and all of them get the same answer.
    """
    global _deferred
    _deferred = True
    try:
        yield lambda step: _requested or (jax.process_count() > 1 and manager.reached_preemption(step))
    finally:
        _deferred = False
