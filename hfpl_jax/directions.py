"""Vectors divided by their length, the last axis, such that one of length 0 has a
gradient too.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Float, typed

EPSILON = 1e-5


@typed
def unit_vectors(
    vectors: Float[Array, "*b k"], *, shortest: float = 1e-12
) -> Float[jax.Array, "*b k"]:
    """x / |x|, float32 at least. A vector that is no longer than `shortest` becomes 0
    and gets no gradient: it points nowhere.
    """
    vectors = at_least_float32(vectors)
    square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    points = square > shortest**2
    return jnp.where(points, vectors * jax.lax.rsqrt(jnp.where(points, square, 1.0)), 0.0)


@typed
def softened_directions(vectors: Float[Array, "*b k"]) -> Float[jax.Array, "*b k"]:
    """x / (|x| + e), e = 1e-5, float32 at least. A vector of 0 stays 0 and gets the
    gradient of x / e: the square root of 0 has none.
    """
    vectors = at_least_float32(vectors)
    square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    positive = square > 0.0
    length = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
    return vectors / (length + EPSILON)
