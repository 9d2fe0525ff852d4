"""Pixel-to-prototype contrast: a pixel's feature has to resemble the prototype of its
class more than those of the others.

PPC (Du, Fu, Liu, Wang, "Weakly Supervised Semantic Segmentation by Pixel-to-Prototype
Contrast", CVPR 2022). Only the features get a gradient.

    S_pc = <g_p, P_c> / temperature, g_p being divided by its length
"""

import jax
import jax.numpy as jnp

from hfpl_jax.directions import unit_vectors
from hfpl_jax.shapes import Array, Bool, Float, Int, Key, UInt32, typed

RANKS = range(3, 13)
"""Of the prototypes in the order of their similarity to a pixel, counted from 0, those
that it is held against within a view: the three most similar may well be of its own
object.
"""


def _similarities(features: Array, prototypes: Array, temperature: float) -> jax.Array:
    """S, [n, m]."""
    unit = unit_vectors(features).reshape(-1, features.shape[-1])
    constant = jax.lax.stop_gradient(prototypes)
    return jnp.matmul(unit, constant.T, precision="highest") / temperature


def _own(similarities: jax.Array, classes: Array) -> jax.Array:
    """S_p,y(p), [n, 1]."""
    return jnp.take_along_axis(similarities, classes.reshape(-1, 1), axis=1, mode="clip")


def _among(similarities: jax.Array, ranks: range) -> jax.Array:
    """Whether a class has one of these ranks in its row, the most similar the rank 0,
    the first of equal ones before the others; bool [n, m].

    Each class is compared with each other one: of 21 that takes a fifth of the time of a
    sort on a CPU.
    """
    first, second = similarities[:, :, None], similarities[:, None, :]
    earlier = jnp.tri(similarities.shape[1], k=-1, dtype=bool)
    rank = jnp.sum((second > first) | ((second == first) & earlier), axis=2)
    return (rank >= ranks.start) & (rank < ranks.stop)


def _places(classes: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A pixel's place in its class by rising values, from 0, the first of equal ones
    before the others; and the number of pixels that the class has. [n] each.
    """
    order = jnp.lexsort((values, classes))
    numbers = jnp.arange(len(order), dtype=order.dtype)
    position = jnp.zeros_like(order).at[order].set(numbers, unique_indices=True)
    ordered = classes[order]
    first, end = (jnp.searchsorted(ordered, classes, side=side) for side in ("left", "right"))
    return position - first, end - first


@typed
def prototype_contrast(
    features: Float[Array, "b h w k"],
    prototypes: Float[Array, "m k"],
    classes: Int[Array, "b h w"],
    *,
    temperature: float | int = 0.1,
) -> Float[jax.Array, ""]:
    """Every pixel of the batch against all prototypes.

      L = mean_p log sum_c exp S_pc - S_p,y(p)

    With the prototypes of the other view it is PPC's cross-prototype contrast, with its
    own view's and the classes of the other view cross-CAM contrast.

    Args:
      features: g, of any length.
      prototypes: P, of `class_prototypes`; no gradient.
      classes: y, of `pixel_classes`.

    Source: PPC, cross-view contrast; its program, contrast_train.py, loss_cross_nce.
    """
    similarities = _similarities(features, prototypes, temperature)
    own = _own(similarities, classes)[:, 0]
    return jnp.mean(jax.nn.logsumexp(similarities, axis=1) - own)


@typed
def draw_half(
    key: Key[Array, ""] | UInt32[Array, "2"], classes: Int[Array, "b h w"]
) -> Bool[jax.Array, "b h w"]:
    """Draws n // 2 of the n pixels that each class has in the batch, without
    replacement.
    """
    flat = jnp.asarray(classes).reshape(-1)
    place, size = _places(flat, jax.random.uniform(key, flat.shape))
    return (place < size // 2).reshape(classes.shape)


@typed
def intra_view_contrast(
    features: Float[Array, "b h w k"],
    prototypes: Float[Array, "m k"],
    classes: Int[Array, "b h w"],
    drawn: Bool[Array, "b h w"],
    *,
    temperature: float | int = 0.1,
) -> Float[jax.Array, ""]:
    """Pixels of a view against the rather similar prototypes of the same view, half of
    the pixels drawn, half of them hard.

      e_p = log(exp S_p,y(p) + sum_{c in R_p} exp S_pc) - S_p,y(p)
      R_p = the classes at ranks 4 to 13 of S_p, as far as there are so many
      L = mean_c 1/(2 h) (sum_{p drawn} e_p + sum_{p hard} e_p), over the classes that
        occur; n pixels are of class c, and h = n // 2

    Of a class's pixels in the order of rising S_p,c those at places 3n // 5 - h to
    3n // 5 - 1, counted from 0, are hard: the rest of the lower three fifths without
    the very hardest, which may be mistaken. A pixel may be drawn and hard and counts
    twice then; so does its own class in the sum where that is among R_p. A class of one
    pixel adds nothing to the sum of the mean, but counts in it.

    Args:
      features: g, of any length.
      prototypes: P, of `class_prototypes`; no gradient.
      classes: y, of `pixel_classes`.
      drawn: of `draw_half`.

    Source: PPC, intra-view contrast; its program, contrast_train.py, loss_intra_nce.
    """
    similarities = _similarities(features, prototypes, temperature)
    own = _own(similarities, classes)
    terms = jnp.concatenate([own, similarities], axis=1)
    among = jnp.pad(_among(similarities, RANKS), ((0, 0), (1, 0)), constant_values=True)
    losses = jax.nn.logsumexp(terms, axis=1, where=among) - own[:, 0]

    flat = jnp.asarray(classes).reshape(-1)
    place, size = _places(flat, jax.lax.stop_gradient(own[:, 0]))
    half, end = size // 2, 3 * size // 5
    hard = (place >= end - half) & (place < end)
    counted = drawn.reshape(-1).astype(losses.dtype) + hard
    shares = jnp.where(half > 0, counted / jnp.maximum(2 * half, 1), 0.0)
    occurring = jnp.sum(place == 0)  # one pixel of each class
    return jnp.sum(shares * losses) / occurring
