"""One side of a benchmark piece, in a process of its own: set up, checked, measured for
memory, then timed on demand.
"""

import ctypes
import gc
import importlib
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

PATIENCE = 10.0
"""Seconds that a process has for ending by itself."""


class Side(NamedTuple):
    """One way to do a piece of work.

    run: does the work once and returns when it is done, device and all.
    numbers: from what `run` returned to the arrays that both sides must agree on, by
      name.
    flops: arithmetic of one run, bytes: what it must at least read from the memory and
      write to it; None where nobody counts them.
    images: photographs of one run.
    """

    run: Callable[[], Any]
    numbers: Callable[[Any], Mapping[str, np.ndarray]]
    flops: float | None = None
    bytes: float | None = None
    images: int | None = None


class Report(NamedTuple):
    """What a side says once it is warm. peak_mb: the most memory that a run takes
    beyond what lies there before it.
    """

    numbers: Mapping[str, np.ndarray]
    peak_mb: float
    flops: float | None
    bytes: float | None
    images: int | None


class SideError(Exception):
    """A side's process failed; the message holds its traceback."""


class SideProcess:
    """`with SideProcess("experiments.benchmark.losses:importance_sampling", sizes) as
    side: side.report; side.seconds()`.
    """

    def __init__(self, function: str, sizes: Mapping[str, Any]):
        context = multiprocessing.get_context("spawn")
        self._function = function
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function, dict(sizes)))
        self._process.start()
        theirs.close()

    def __enter__(self) -> "SideProcess":
        self.report: Report = self._receive()
        return self

    def __exit__(self, *_) -> None:
        self._connection.close()  # the process then ends by itself, and ends those it has started
        self._process.join(PATIENCE)
        self._process.kill()
        self._process.join()

    def seconds(self) -> float:
        """Of one run."""
        self._connection.send("run")
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError as error:
            raise SideError(
                f"The process of {self._function} died; it may have run out of memory."
            ) from error
        if isinstance(answer, str):
            raise SideError(f"{self._function} failed:\n{answer}")
        return answer


def find(function: str) -> Callable[..., Any]:
    """ "package.module:name" -> the function."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def _serve(connection: Connection, function: str, sizes: dict[str, Any]) -> None:
    try:
        side = find(function)(**sizes)
        numbers = side.numbers(side.run())  # also compiles, and fills caches
        connection.send(Report(numbers, _peak_mb(side.run), side.flops, side.bytes, side.images))
        while True:
            connection.recv()
            start = time.perf_counter()
            side.run()
            connection.send(time.perf_counter() - start)
    except EOFError:
        pass  # the parent is gone
    except BaseException:
        connection.send(traceback.format_exc())


def _peak_mb(run: Callable[[], Any]) -> float:
    """Of the accelerator's memory where there is one, else of the process, whose mark
    of the most is set back before the run.
    """
    device = _device_peak(run)
    if device is not None:
        return device
    gc.collect()
    if sys.platform != "linux":
        before = resource.getrusage(
            resource.RUSAGE_SELF
        ).ru_maxrss  # in bytes on macOS; rises only where a run exceeds the set-up
        run()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    ctypes.CDLL(None).malloc_trim(
        0
    )  # memory that was freed, but kept by the allocator, would hide a peak
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    before = _status("VmRSS")
    run()
    return max(0.0, _status("VmHWM") - before) / 1e3


def _status(field: str) -> float:
    """A line of /proc/self/status, in kB."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(float(line.split()[1]) for line in file if line.startswith(f"{field}:"))


def _device_peak(run: Callable[[], Any]) -> float | None:
    """Megabytes on an accelerator, or None on a CPU. PyTorch's mark can be set back,
    JAX's is that of the whole process.
    """
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch is not None:
        if not torch.cuda.is_available():
            return None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    if jax is None or jax.default_backend() == "cpu":
        return None
    before = jax.local_devices()[0].memory_stats()["bytes_in_use"]
    run()
    return (jax.local_devices()[0].memory_stats()["peak_bytes_in_use"] - before) / 1e6


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
