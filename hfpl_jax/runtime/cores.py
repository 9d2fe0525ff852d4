"""How many cores this process may use."""

import os


def available_cores() -> int:
    """Those a scheduler or a container gives it, where the system says; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
