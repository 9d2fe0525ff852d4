"""What becomes of memory that a run gives back: on a CPU it is needed again at the next
step.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # <malloc.h>


def keep_freed_memory() -> None:
    """glibc's malloc keeps freed blocks of any size for the next request, in one heap
    for all threads.

    Otherwise every block above 32 MB goes back to the system at once: a training step
    on a CPU has hundreds of megabytes of new pages cleared by the kernel each time, a
    tenth of its time and more. Other C libraries are left as they are. To be called
    before threads are started.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0), (_ARENA_MAX, 1)):
            mallopt(parameter, value)
