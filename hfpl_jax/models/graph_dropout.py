"""The graph dropout layer: what stands out in a map is halved, so that the others of its
group have to tell the rest.

Source: Li, Zhou, Li, Wang, "Group-Wise Semantic Mining for Weakly Supervised Semantic
Segmentation", AAAI 2021; models/vgg_gnn.py of its program, after Choe and Shim,
"Attention-based Dropout Layer for Weakly Supervised Object Localization", CVPR 2019.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array, Bool, Float, typed

RATE = 0.8
"""Share of the maps in which what stands out is halved."""
HEIGHT = 0.7
"""Share of a map's maximum above which a pixel stands out."""


@typed
def graph_dropout(
    maps: Float[Array, "*b h w k"],
    draw: Float[Array, "*b"],
    valid: Bool[Array, "*b h w"] | None = None,
    *,
    rate: float | int = RATE,
    height: float | int = HEIGHT,
) -> Float[Array, "*b h w k"]:
    """x (1 + s) / 2, a being the mean of x over the channels.

      s = [a < height * max a], without gradient   where draw + rate >= 1
      s = sigmoid(a)                               elsewhere

    So nothing is zeroed, and a negative maximum halves nothing.

    Args:
      draw: a number from [0, 1) for each map.
      valid: False in the padding of a map, which the maximum leaves out.
    """
    mean = jnp.mean(maps, axis=-1)
    inside = mean if valid is None else jnp.where(valid, mean, -jnp.inf)
    low = mean < height * jnp.max(inside, axis=(-2, -1), keepdims=True)
    drops = (draw.astype(jnp.float32) + jnp.float32(rate) >= 1.0)[..., None, None]
    kept = jnp.where(drops, low.astype(maps.dtype), jax.nn.sigmoid(mean))
    return maps * (1.0 + kept[..., None]) / 2.0
