import os
import subprocess
import sys

import jaxlib.version
import pytest
from end_to_end import ROOT

from hfpl_jax.runtime import allocator

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


GRADIENTS = """
import sys
import jax, jax.numpy as jnp
from hfpl_jax.models.convolve import convolve
from hfpl_jax.runtime import allocator
if sys.argv[1] == "early":
    allocator.spare_memory()
def loss(kernels, x):
    for kernel in kernels:
        x = jax.nn.relu(convolve(x, kernel, 1, 1))
    return jnp.sum(x)
given = [jnp.ones((3, 3, 8, 8))] * 4, jnp.ones((1, 64, 64, 8))
program = jax.jit(jax.grad(loss)).lower(*given).compile()
print(program.memory_analysis().temp_size_in_bytes)
"""


@pytest.mark.skipif(
    not allocator.order_is_changed(), reason="libtpu, or a jaxlib that was not tried"
)
def test_gradients_of_all_layers_are_not_held_back():
    def held(how: str) -> int:
        environment = {**os.environ, "PYTHONPATH": os.fspath(ROOT), "XLA_FLAGS": ""}
        return int(
            subprocess.run(
                [sys.executable, "-c", GRADIENTS, how],
                check=True,
                capture_output=True,
                text=True,
                env=environment,
            ).stdout
        )

    assert held("early") < held("late") / 2


def test_a_jaxlib_that_was_not_tried_gets_no_flag(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--of=mine")
    monkeypatch.setattr(allocator.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(jaxlib.version, "__version__", "0.13.0")
    allocator.free_results_early()
    assert os.environ["XLA_FLAGS"] == "--of=mine"
    monkeypatch.setattr(jaxlib.version, "__version__", "0.9.2")
    allocator.free_results_early()
    assert os.environ["XLA_FLAGS"] == "--of=mine"


@pytest.mark.parametrize("version", ["0.10.0", "0.11.2", "0.12.0.1"])
def test_the_flag_is_given_once_and_keeps_the_others(monkeypatch, version):
    monkeypatch.setenv("XLA_FLAGS", "--of=mine")
    monkeypatch.setattr(allocator.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(jaxlib.version, "__version__", version)
    for _ in range(2):
        allocator.free_results_early()
        before, after = os.environ["XLA_FLAGS"].split()
        assert before.endswith("scheduler=false")
        assert after == "--of=mine"
