"""Images changed such that a network is most mistaken: the fast gradient sign method.

Source: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples",
ICLR 2015, as deep co-training uses it.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.shapes import Array, Bool, Float, typed


@typed
def adversarial_images(
    images: Float[Array, "b h w 3"],
    slopes: Float[Array, "b h w 3"],
    valid: Bool[Array, "b h w"],
    *,
    epsilon: float,
) -> Float[jax.Array, "b h w 3"]:
    """One step of length `epsilon` in every colour, towards a larger loss.

      x' = clip(x + epsilon / std * sign(dL/dx), (0 - mean) / std, (1 - mean) / std)

    which is the published step on colours in [0, 1]. They carry no gradient.

    Args:
      images: x, normalised with ImageNet's statistics.
      slopes: dL/dx of the loss of the network that is attacked.
      valid: False in the padding, which stays as it is.
      epsilon: in colours from 0 to 1.
    """
    low, high = -IMAGENET_MEAN / IMAGENET_STD, (1.0 - IMAGENET_MEAN) / IMAGENET_STD
    moved = jnp.clip(images + epsilon / IMAGENET_STD * jnp.sign(slopes), low, high)
    return jax.lax.stop_gradient(jnp.where(valid[..., None], moved, images))
