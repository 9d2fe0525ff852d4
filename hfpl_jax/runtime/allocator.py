"""How a run on a CPU uses memory: what it gives back it needs again at the next step,
and what has been computed is not kept longer than it must be.
"""

import ctypes
import importlib.util
import os
import sys

import jaxlib.version

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # <malloc.h>

_ORDER = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
_TRIED = ((0, 10), (0, 13))
"""The first jaxlib that is known to take this flag, and the first of which nothing is
known: a process ends at a flag that it does not know.
"""


def spare_memory() -> None:
    """To be called before threads are started and before JAX has looked for devices."""
    keep_freed_memory()
    free_results_early()


def keep_freed_memory() -> None:
    """glibc's malloc keeps freed blocks of any size for the next request, in one heap
    for all threads.

    Otherwise every block above 32 MB goes back to the system at once: a training step
    on a CPU has hundreds of megabytes of new pages cleared by the kernel each time, a
    tenth of its time and more. Other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0), (_ARENA_MAX, 1)):
            mallopt(parameter, value)


def free_results_early() -> None:
    """XLA orders the operations of a program for a CPU by the memory that they hold.

    By itself it has as many as possible side by side, and keeps all that waits for
    another: beside its parameters a training step of SEAM on a ResNet-50 takes 1.3 GB in
    place of 0.8, in about the same time on two cores (experiments/notes/speed.md). A flag of
    the user's own wins; where libtpu is installed, which reads the same variable, and
    with a jaxlib that was not tried, nothing is changed.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if order_is_changed() and _ORDER not in flags:
        os.environ["XLA_FLAGS"] = f"{_ORDER} {flags}".strip()


def order_is_changed() -> bool:
    """Whether `free_results_early` may give its flag to the jaxlib of this process."""
    first, beyond = _TRIED
    version = tuple(int(part) for part in jaxlib.version.__version__.split(".")[:2])
    return first <= version < beyond and importlib.util.find_spec("libtpu") is None
