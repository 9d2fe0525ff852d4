"""Class tokens of an image are told from each other.

Source: Xu et al., "MCTformer+: Multi-Class Token Transformer for Weakly Supervised
Semantic Segmentation", TPAMI 2024; engine.py of its program.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.directions import unit_vectors
from hfpl_jax.shapes import Array, Bool, Float, Num, typed


@typed
def token_contrast(
    tokens: Float[Array, "n b c k"], labels: Num[Array, "b c"] | Bool[Array, "b c"]
) -> Float[jax.Array, ""]:
    """Each class token of an image resembles itself more than those of other classes.

      u = token / |token|;   S_cd = u_c . u_d
      l_c = logsumexp_d S_cd - S_cc, the mean over the blocks
      L = 1/B sum_b (sum_{c present} l_c) / (count of the present + 1e-8)

    Args:
      tokens: of `n` blocks of the network, one a class.
      labels: [b, c], 1 where the class is in the image. An image without any counts as 0.
    """
    unit = unit_vectors(tokens)
    alike = jnp.einsum("nbck,nbdk->nbcd", unit, unit)
    own = jnp.einsum("nbcc->nbc", alike)
    loss = jnp.mean(jax.nn.logsumexp(alike, axis=-1) - own, axis=0)
    present = jnp.asarray(labels, loss.dtype)
    return jnp.mean(jnp.sum(present * loss, axis=1) / (jnp.sum(present, axis=1) + 1e-8))
