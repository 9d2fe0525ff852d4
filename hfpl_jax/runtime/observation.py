"""Where the time of a stage goes: compiling, waiting for data; how much memory it took;
a trace of a few of its steps.
"""

import contextlib
import pathlib
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax

from hfpl_jax.runtime.progress import format_seconds

T = TypeVar("T")

_COMPILATION = "/jax/core/compile/backend_compile_duration"
_TRACED = range(4, 14)
"""Items of a loop that a trace shows: not the first ones, which are compiled for."""

_seconds = {"compiling": 0.0, "waiting": 0.0}
_trace_folder: pathlib.Path | None = None


def _count_compilation(event: str, duration_secs: float, **_) -> None:
    if event == _COMPILATION:
        _seconds["compiling"] += duration_secs


@contextlib.contextmanager
def observed(trace_folder: pathlib.Path | None) -> Iterator[None]:
    """Counts from zero for the stage inside the block; its first loop is traced into
    `trace_folder`, if one is given.
    """
    global _trace_folder
    _seconds.update(compiling=0.0, waiting=0.0)
    _trace_folder = trace_folder
    jax.monitoring.register_event_duration_secs_listener(_count_compilation)
    try:
        yield
    finally:
        _trace_folder = None
        jax.monitoring.unregister_event_duration_listener(_count_compilation)


def waited_for(items: Iterable[T]) -> Iterator[T]:
    """Yields `items`, a loop's data, and counts the time their next one takes to
    come.
    """
    global _trace_folder
    folder, _trace_folder = _trace_folder, None
    items, tracing = iter(items), False
    try:
        for number in range(2**63):
            if folder and number == _TRACED.start:
                jax.profiler.start_trace(str(folder), create_perfetto_trace=True)
                tracing = True
            if tracing and number == _TRACED.stop:
                jax.profiler.stop_trace()
                tracing = False
            began = time.monotonic()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                _seconds["waiting"] += time.monotonic() - began
            yield item
    finally:
        if tracing:
            jax.profiler.stop_trace()


def summary() -> str:
    """'compiling 0:31, waiting for data 0:02, memory 1.9 GB at most'; an accelerator's
    memory where there is one.
    """
    statistics = [device.memory_stats() for device in jax.local_devices()]
    peaks = [row["peak_bytes_in_use"] for row in statistics if row and "peak_bytes_in_use" in row]
    kind, peak = ("device memory", max(peaks)) if peaks else ("memory", _peak_memory())
    return (
        f"compiling {format_seconds(_seconds['compiling'])}, waiting for data "
        f"{format_seconds(_seconds['waiting'])}, {kind} {peak / 1e9:.1f} GB at most"
    )


def _peak_memory() -> int:
    """Of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux kB
