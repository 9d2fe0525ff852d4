"""An object's colours extend it: Bayes' rule on a histogram of one photograph.

Source: Wang, You, Li and Ma, "Weakly-Supervised Semantic Segmentation by Iteratively
Mining Common Object Features", CVPR 2018, where the prior is a saliency map. Its body
was not within reach: the histogram is our reading.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array, Bool, Float, Int, UInt8, typed

BINS = 8
"""Of each channel."""


@typed
def colour_bins(images: UInt8[Array, "b h w 3"], bins: int = BINS) -> Int[jax.Array, "b h w"]:
    """The bin of each colour, 0 ... bins^3 - 1, blue running fastest."""
    steps = jnp.asarray(images, jnp.int32) * bins // 256
    return (steps[..., 0] * bins + steps[..., 1]) * bins + steps[..., 2]


@typed
def object_posterior(
    prior: Float[Array, "b h w"],
    found: Bool[Array, "b h w"],
    colours: Int[Array, "b h w"],
    own: Bool[Array, "b h w"],
    bins: int = BINS,
) -> Float[jax.Array, "b h w"]:
    """p(object | v) = s p(v | object) / (s p(v | object) + (1 - s) p(v | background)).

    p(v | object) is the share of the colour v among the pixels found, p(v | background)
    that among the others; s where both are 0.

    Args:
      prior: s, in [0, 1].
      found: where the object is known.
      colours: v, of `colour_bins`.
      own: the pixels of each photograph in a padded batch.
    """
    kinds, found, own = bins**3, jnp.asarray(found), jnp.asarray(own)

    def shares(colour: jax.Array, counted: jax.Array) -> jax.Array:
        sums = jax.ops.segment_sum(counted.ravel().astype(jnp.float32), colour.ravel(), kinds)
        return (sums / jnp.maximum(jnp.sum(counted), 1))[colour]

    prior, colours = jnp.asarray(prior), jnp.asarray(colours)
    of_object = prior * jax.vmap(shares)(colours, found & own)
    of_background = (1.0 - prior) * jax.vmap(shares)(colours, ~found & own)
    total = of_object + of_background
    return jnp.where(total > 0.0, of_object / jnp.where(total > 0.0, total, 1.0), prior)
