"""The largest values of a row without sorting: the thousands that the losses of SEAM
keep of a map, the pixels that PPC makes prototypes of.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array, Bool, Float, Int, typed


def _ordered(values: Array) -> jax.Array:
    """Integers in the order of the floats: those of positive floats are their bits; a
    negative one's are turned round.
    """
    bits = jax.lax.bitcast_convert_type(
        values, jnp.int64 if values.dtype == jnp.float64 else jnp.int32
    )
    return jnp.where(bits < 0, bits ^ jnp.iinfo(bits.dtype).max, bits)


def _smallest(ordered: jax.Array, count: int | Array) -> jax.Array:
    """The smallest of the `count` largest integers of each row, [b, 1].

    It is found by halving the interval between them: 32 (float32) counts over the row,
    where a sort of so many values takes ten times as long.
    """
    limits = jnp.iinfo(ordered.dtype)
    wanted = jnp.broadcast_to(jnp.asarray(count).reshape(-1, 1), (ordered.shape[0], 1))[:, 0]

    def halve(_, interval: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        # At least `count` values are not below low; fewer, or none, are not below high.
        low, high = interval
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, without overflow
        enough = jnp.sum(ordered >= middle[:, None], axis=1) >= wanted
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    edges = (jnp.full(ordered.shape[0], limits.min), jnp.full(ordered.shape[0], limits.max))
    return jax.lax.fori_loop(0, limits.bits, halve, edges)[0][:, None]


@typed
def among_largest(values: Float[Array, "b n"], count: Int[Array, "b 1"]) -> Bool[jax.Array, "b n"]:
    """Whether a value is among the `count` largest of its row, or equals one of them."""
    ordered = _ordered(jax.lax.stop_gradient(values))
    return ordered >= _smallest(ordered, count)


@typed
def shares_of_largest(values: Float[Array, "b n"], count: int) -> Float[jax.Array, "b n"]:
    """1 for the `count` largest values of each row and 0 for the others, no gradient.

    Where several equal the smallest that is kept, and not all of them fit in, they share
    what is left of `count`: each row's sum is `count`, and no share depends on the order
    of the values.
    """
    ordered = _ordered(jax.lax.stop_gradient(values))
    smallest = _smallest(ordered, count)
    above, equal = ordered > smallest, ordered == smallest
    left = count - jnp.sum(above, axis=1, keepdims=True)
    share = left.astype(values.dtype) / jnp.sum(equal, axis=1, keepdims=True).astype(values.dtype)
    return jnp.where(above, 1.0, jnp.where(equal, share, 0.0)).astype(values.dtype)


@typed
def mean_of_largest(values: Float[Array, "b n"], count: int) -> Float[jax.Array, "b"]:
    """The mean of the `count` largest of each row, exact to rounding; its gradient is
    their `shares_of_largest` / count.
    """
    return jnp.sum(shares_of_largest(values, count) * values, axis=1) / count
