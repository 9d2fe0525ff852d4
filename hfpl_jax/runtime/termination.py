"""What SIGTERM, which schedulers send before they kill, and Ctrl-C do: the work so far
is saved and the command ends, with status 0 after SIGTERM and 130 after Ctrl-C, so that
a script stops with it. A second Ctrl-C ends the command at once.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

import jax
import orbax.checkpoint as ocp


class Stopped(BaseException):
    """Like KeyboardInterrupt no error, so that nothing but the end of the command
    catches it.
    """


INTERRUPTED = 128 + signal.SIGINT
"""The exit status of a command that Ctrl-C ended, as shells have it."""

_requested_by: int | None = None
_deferred = False
_action_of_jax = None


def exit_status() -> int:
    """Of a command that stops as it was asked to."""
    return INTERRUPTED if _requested_by == signal.SIGINT else 0


def _on_signal(number: int, frame) -> None:
    global _requested_by
    if _requested_by is not None:
        return  # it is being saved
    _requested_by = number
    if not _deferred:
        raise Stopped
    if number == signal.SIGINT and jax.process_count() > 1:
        os.kill(os.getpid(), signal.SIGTERM)  # JAX tells the other hosts of this one alone


def _stop_at_second(interrupts: int) -> None:
    """Reads signals from the pipe `interrupts` as they come, also while the main thread
    compiles or waits for a device, where Python's handlers cannot run.
    """
    told = False
    while number := os.read(interrupts, 1):
        if number[0] != signal.SIGINT:
            continue
        if told:
            os._exit(INTERRUPTED)
        told = True
        print("\nhfpl_jax: Stopping; a second Ctrl-C stops without saving.", file=sys.stderr)
        sys.stderr.flush()


def _exchange(action: ctypes.Array | None) -> ctypes.Array:
    """What SIGTERM did, after which it does `action`: as the system has it, for
    Python's own functions know handlers in Python alone.
    """
    before = ctypes.create_string_buffer(1024)  # any system's struct sigaction is smaller
    ctypes.CDLL(None).sigaction(signal.SIGTERM, action, before)
    return before


def listen() -> None:
    """From now on SIGTERM and Ctrl-C raise `Stopped` in the main thread, but for blocks
    that put it off.

    To be called once the processes know of each other, since JAX then has a handler of
    its own, which `put_off` brings back.
    """
    global _action_of_jax
    _action_of_jax = _exchange(None)
    signal.signal(signal.SIGTERM, _on_signal)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        return  # a job in the background of a script, whose Ctrl-C is for others
    signal.signal(signal.SIGINT, _on_signal)
    interrupts, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    threading.Thread(target=_stop_at_second, args=(interrupts,), daemon=True).start()


def nothing_left_to_save() -> None:
    """From now on SIGTERM and Ctrl-C do nothing; otherwise one that comes in the last
    moment would make a finished run look killed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def put_off(manager: ocp.CheckpointManager) -> Iterator[Callable[[int], bool]]:
    """Inside the block neither does anything by itself; yields `stop_after(step)`,
    which says whether one has come.

    All processes ask after every step, and all of them get the same answer: several
    leave the signal to JAX, which agrees with the other hosts on the step after which
    all of them stop.
    """
    global _deferred
    several = jax.process_count() > 1
    _deferred = True
    action = _exchange(_action_of_jax) if several else None
    try:
        yield manager.reached_preemption if several else lambda step: _requested_by is not None
    finally:
        if several:
            _exchange(action)
        _deferred = False
    if _requested_by is not None:  # after the last question
        raise Stopped
