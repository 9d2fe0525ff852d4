import subprocess
import sys

import pytest

PAGES = 64 * 2**20 // 4096
PROGRAM = """
import resource, sys
import numpy as np
from hfpl_jax.runtime.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 * 2**20, np.uint8)  # freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_second_block_needs_no_new_pages():
    def new_pages(how: str) -> int:
        return int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True
            ).stdout
        )

    assert new_pages("kept") < PAGES / 10
    assert new_pages("given back") > new_pages("kept")
