"""What the machine can do at best: a big matrix product and a big copy, in JAX on the
default device.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmark.side import Side

RUNS = 5


def _best(function: Callable[..., Any], *arguments: jax.Array) -> float:
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def limits(small: bool) -> Side:
    """`numbers`: flops_per_s of a square product, bytes_per_s (read and written) of a
    copy; float32.
    """
    side = 256 if small else 2048 if jax.default_backend() == "cpu" else 8192
    count = 1 << (16 if small else 26)

    def run() -> dict[str, float]:
        square, flat = jnp.ones((side, side)), jnp.ones(count)
        return {
            "flops_per_s": 2 * side**3 / _best(jax.jit(jnp.matmul), square, square),
            "bytes_per_s": 2 * flat.nbytes / _best(jax.jit(jnp.negative), flat),
        }

    return Side(run, numbers=lambda rates: rates)
