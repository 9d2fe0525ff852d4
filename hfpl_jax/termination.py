"""What SIGTERM does, which schedulers send before they kill: the work so far is saved
and the command ends with status 0.
"""

import contextlib
import ctypes
import signal
from collections.abc import Callable, Iterator

import jax
import orbax.checkpoint as ocp


class Stopped(BaseException):
    """Like KeyboardInterrupt no error, so that nothing but the end of the command catches it."""


_requested = False
_deferred = False
_action_of_jax = None


def _on_signal(number: int, frame) -> None:
    global _requested
    _requested = True
    if not _deferred:
        raise Stopped


def _exchange(action: ctypes.Array | None) -> ctypes.Array:
    """What SIGTERM did, after which it does `action`: as the system has it, for
    Python's own functions know handlers in Python alone.
    """
    before = ctypes.create_string_buffer(1024)  # any system's struct sigaction is smaller
    ctypes.CDLL(None).sigaction(signal.SIGTERM, action, before)
    return before


def listen() -> None:
    """From now on SIGTERM raises `Stopped` in the main thread, but for blocks that put it off.

    To be called once the processes know of each other, since JAX then has a handler of
    its own, which `put_off` brings back.
    """
    global _action_of_jax
    _action_of_jax = _exchange(None)
    signal.signal(signal.SIGTERM, _on_signal)


def nothing_left_to_save() -> None:
    """From now on SIGTERM does nothing; otherwise one that comes in the last moment
    would make a finished run look killed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def put_off(manager: ocp.CheckpointManager) -> Iterator[Callable[[int], bool]]:
    """Inside the block SIGTERM does nothing by itself; yields `stop_after(step)`, which
    says whether it has come.

    All processes ask after every step, and all of them get the same answer: several
    leave the signal to JAX, which agrees with the other hosts on the step after which
    all of them stop.
    """
    global _deferred
    several = jax.process_count() > 1
    _deferred = True
    action = _exchange(_action_of_jax) if several else None
    try:
        yield lambda step: _requested or (several and manager.reached_preemption(step))
    finally:
        if several:
            _exchange(action)
        _deferred = False
    if _requested:  # after the last question
        raise Stopped
