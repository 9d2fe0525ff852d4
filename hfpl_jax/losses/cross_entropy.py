"""The pixelwise cross-entropy of the segmentation network."""

import jax
import jax.numpy as jnp

from hfpl_jax.masks import IGNORE
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Float, UInt8, typed


@typed
def segmentation_loss(
    logits: Float[Array, "b h w k"], labels: UInt8[Array, "b h w"]
) -> Float[jax.Array, ""]:
    """Mean over the labelled pixels of the batch of -log softmax(z)[label]; 0 if there
    are none.

      L = 1/|P| sum_{p in P} (log sum_k exp z_pk - z_p,label(p))
      P = pixels whose label is not 255

    Args:
      logits: one channel a class, background first.
      labels: 0 ... k - 1, or 255 for a pixel that is not counted.
    """
    logits = at_least_float32(logits)
    counted = labels != IGNORE
    chosen = jnp.where(counted, labels, 0)
    picked = jnp.take_along_axis(logits, chosen[..., None].astype(jnp.int32), axis=-1)[..., 0]
    losses = jax.nn.logsumexp(logits, axis=-1) - picked
    return jnp.sum(jnp.where(counted, losses, 0.0)) / jnp.maximum(jnp.sum(counted), 1)
