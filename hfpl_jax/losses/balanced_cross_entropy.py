"""Cross-entropy in which every class counts the same, however rare."""

import jax
import jax.numpy as jnp

from hfpl_jax.masks import IGNORE
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Float, UInt8, typed


@typed
def balanced_cross_entropy(
    logits: Float[Array, "b n k"], labels: UInt8[Array, "b n"]
) -> Float[jax.Array, ""]:
    """Mean over the classes that the batch has of the mean over those of its regions of
    -log softmax(z)[label]; 0 if none has a label.

      L = 1/|K| sum_{k in K} 1/|P_k| sum_{p in P_k} (log sum_j exp z_pj - z_pk)
      P_k = regions of label k, K = the classes k with any

    Args:
      logits: one channel a class, background first.
      labels: 0 ... k - 1, or 255 for a region that is not counted.
    """
    logits = at_least_float32(logits)
    counted = labels != IGNORE
    chosen = jnp.where(counted, labels, 0).astype(jnp.int32)
    picked = jnp.take_along_axis(logits, chosen[..., None], axis=-1)[..., 0]
    losses = jnp.where(counted, jax.nn.logsumexp(logits, axis=-1) - picked, 0.0)
    is_class = counted[..., None] & (chosen[..., None] == jnp.arange(logits.shape[-1]))
    counts = jnp.sum(is_class, axis=(0, 1))
    sums = jnp.sum(jnp.where(is_class, losses[..., None], 0.0), axis=(0, 1))
    present = jnp.maximum(jnp.sum(counts > 0), 1)
    return jnp.sum(sums / jnp.maximum(counts, 1)) / present
