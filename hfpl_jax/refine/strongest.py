"""Scores to masks and confidences, on the device."""

import jax
import jax.numpy as jnp

from hfpl_jax.refine.refiner import Refined
from hfpl_jax.shapes import Array, Float, Int, typed


@typed
def strongest(scores: Float[Array, "b h w k"], classes: Int[Array, "b n"]) -> Refined:
    """The label of the strongest channel, and its lead over the next as a share of all
    channels; for each photograph what `most_probable` makes of its scores / their sum.

    Args:
      scores: at least 0, the background's in front of those of the classes, k = 1 + n.
      classes: zero-based; -1 where a photograph has fewer: no pixel becomes that.
    """
    there = jnp.pad(classes >= 0, ((0, 0), (1, 0)), constant_values=True)
    scores = jnp.where(there[:, None, None], scores, 0.0)
    best = jnp.argmax(scores, axis=-1)
    labels = jnp.pad(classes + 1, ((0, 0), (1, 0)))
    mask = jax.vmap(jnp.take)(labels, best)
    shares = scores / jnp.maximum(jnp.sum(scores, axis=-1, keepdims=True), 1e-5)
    is_best = best[..., None] == jnp.arange(scores.shape[-1])
    lead = jnp.max(shares, axis=-1) - jnp.max(jnp.where(is_best, 0.0, shares), axis=-1)
    confidence = jnp.rint(255.0 * jnp.clip(lead, 0.0, 1.0))
    return Refined(mask.astype(jnp.uint8), confidence.astype(jnp.uint8))
