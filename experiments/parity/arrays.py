"""The arrays of a golden file, as the library takes them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


def channels_last(array: np.ndarray) -> jax.Array:
    """Float32 [b, h, w, k] of [b, k, h, w]."""
    return jnp.asarray(np.moveaxis(array, 1, -1), jnp.float32)


def cases(golden: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Case -> its arrays by name, of a file that calls them CASE_NAME."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for key in sorted(golden):
        case, _, name = key.partition("_")
        found.setdefault(case, {})[name] = golden[key]
    return found
