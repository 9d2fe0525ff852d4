"""The precision of losses, correlations and walks: float32 at least, whatever the network
computes in.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array


def at_least_float32(array: Array) -> jax.Array:
    """bfloat16 and float16 become float32; float64 stays where JAX has it enabled."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
