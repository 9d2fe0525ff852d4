"""Global weighted ranking pooling: a mean in which higher pixels count more.

Source: Kolesnikov and Lampert, "Seed, Expand and Constrain", ECCV 2016, as MCTformer+
uses it (Xu et al., "MCTformer+: Multi-Class Token Transformer for Weakly Supervised
Semantic Segmentation", TPAMI 2024; models.py of its program).
"""

import jax
import jax.numpy as jnp

from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, typed


@typed
def ranked_mean(
    maps: Float[Array, "b h w c"],
    valid: Bool[Array, "b h w"] | None = None,
    *,
    decay: float = 0.996,
) -> Float[jax.Array, "b c"]:
    """sum_k q^k z_(k) / sum_k q^k, z_(0) >= z_(1) >= ... the pixels of a map.

    Args:
      maps: of an image and class each.
      valid: False in the padding, which does not count; None: there is none. Of an image
        without a pixel the mean is 0.
      decay: q, from 0 (the maximum alone) to 1 (the mean of all).
    """
    b, h, w, c = maps.shape
    pixels = at_least_float32(maps).reshape(b, h * w, c)
    inside = jnp.ones((b, h * w), bool) if valid is None else jnp.asarray(valid).reshape(b, -1)
    ranked = -jnp.sort(jnp.where(inside[..., None], -pixels, jnp.inf), axis=1)
    rank = jnp.arange(h * w)
    weights = jnp.where(rank < inside.sum(1)[:, None], decay**rank, 0.0)
    ranked = jnp.where(weights[..., None] > 0.0, ranked, 0.0)
    total = weights.sum(1)[:, None]
    return jnp.einsum("bk,bkc->bc", weights, ranked) / jnp.where(total > 0.0, total, 1.0)
