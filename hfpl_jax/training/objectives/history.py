"""A history of what a generator has made: a discriminator that sees some of it does not
forget how earlier mistakes looked.

Source: Shrivastava et al., "Learning from simulated and unsupervised images through
adversarial training", CVPR 2017, as CycleGAN uses it: of 50 images.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class History(NamedTuple):
    """kept: arrays [n, ...] by name, of n images. filled: how many there are yet."""

    kept: Any
    filled: jax.Array


def empty(size: int, shapes: Any) -> History:
    """Of `size` images; `shapes` are those of one, `jax.ShapeDtypeStruct`."""
    kept = jax.tree.map(lambda one: jnp.zeros((size, *one.shape), one.dtype), shapes)
    return History(kept, jnp.zeros((), jnp.int32))


def exchanged(history: History, made: Any, key: jax.Array) -> tuple[Any, History]:
    """What the discriminator is to see in place of `made`, arrays [b, ...], and the
    history after it.

    Until there are n, images are kept and seen as they are. Then each is, with probability
    one half, kept in the place of an earlier one that is drawn, which is seen instead;
    no two of a batch change places with the same, so that of b > n images only n do.
    """
    size, number = (len(jax.tree.leaves(each)[0]) for each in (history.kept, made))
    full, rows = history.filled >= size, jnp.arange(number)
    of_draw, of_places = jax.random.split(key)
    drawn = jnp.resize(jax.random.permutation(of_places, size), (number,))
    moves = (rows < size) & jax.random.bernoulli(of_draw, 0.5, (number,))
    places = jnp.where(full, drawn, history.filled + rows)
    moves = jnp.where(full, moves, places < size)

    def seen(kept: jax.Array, new: jax.Array) -> jax.Array:
        earlier = (full & moves).reshape(-1, *(1,) * (new.ndim - 1))
        return jnp.where(earlier, kept[jnp.minimum(places, size - 1)], new)

    def after(kept: jax.Array, new: jax.Array) -> jax.Array:
        return kept.at[jnp.where(moves, places, size)].set(new, mode="drop")

    filled = jnp.minimum(history.filled + number, size)
    shown = jax.tree.map(seen, history.kept, made)
    return shown, History(jax.tree.map(after, history.kept, made), filled)
