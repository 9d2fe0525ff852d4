"""The terms of a CycleGAN: how real images and masks look, and how near to the first one
comes back.

Source: Zhu et al., "Unpaired image-to-image translation using cycle-consistent
adversarial networks", ICCV 2017; Mao et al., "Least squares generative adversarial
networks", ICCV 2017; which of them Mondal et al., "Revisiting CycleGAN for
semi-supervised segmentation", arXiv 1908.11569, add up is in
`training.objectives.cycle`.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, typed


@typed
def judged_as(
    scores: Float[Array, "b h w 1"], target: float, counted: Bool[Array, "b h w"]
) -> Float[jax.Array, ""]:
    """Mean over the counted pixels of (d - t)^2; 0 if there are none.

    Args:
      scores: d, of a discriminator.
      target: t, 1 for real and 0 for made.
      counted: the pixels that are no padding.
    """
    return _mean(jnp.square(at_least_float32(scores) - target), counted)


@typed
def absolute_error(
    ours: Float[Array, "b h w k"], theirs: Float[Array, "b h w k"], counted: Bool[Array, "b h w"]
) -> Float[jax.Array, ""]:
    """Mean over the counted pixels and the channels of |x - y|; 0 if there are none."""
    return _mean(jnp.abs(at_least_float32(ours) - theirs), counted)


@typed
def squared_error(
    ours: Float[Array, "b h w k"], theirs: Float[Array, "b h w k"], counted: Bool[Array, "b h w"]
) -> Float[jax.Array, ""]:
    """Mean over the counted pixels and the channels of (x - y)^2; 0 if there are none."""
    return _mean(jnp.square(at_least_float32(ours) - theirs), counted)


def _mean(values: jax.Array, counted: Array) -> jax.Array:
    total = jnp.sum(jnp.where(counted[..., None], values, 0.0))
    return total / jnp.maximum(jnp.sum(counted) * values.shape[-1], 1)
