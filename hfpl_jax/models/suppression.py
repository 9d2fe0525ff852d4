"""Discriminative region suppression (DRS): what takes the place of a ReLU, so that no
pixel of a channel stands far above the others and a classifier has to look at whole
objects.

Source: Kim, Han, Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic
Segmentation", AAAI 2021; models/vgg.py of its program.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.models.convolution import mask_padding
from hfpl_jax.models.weights.names import SUPPRESSION
from hfpl_jax.shapes import Array, Float, Int, typed

LEARNABLE = "learnable"
"""In place of a number: delta is learnt."""


@typed
def suppress(
    x: Float[Array, "b h w k"],
    delta: Float[Array, "b k"] | float,
    sizes: Int[Array, "b 2"] | None = None,
) -> Float[jax.Array, "b h w k"]:
    """min(r, delta max r) with r = max(x, 0) and the maximum over the pixels of an image's
    channel: what stands above delta times it is cut flat.

    Where r is cut, its gradient goes to delta and, delta times, to the pixel of the
    maximum, the first of equal ones.

    Args:
      x: features before their ReLU.
      delta: in (0, 1], one for all or one an image and channel.
      sizes: rows and columns of each image in a padded batch, whose extents begin at
        the top left; None for the whole array. What stands outside does not count.
    """
    rectified = nn.relu(x)
    inside = mask_padding(rectified, sizes).reshape(len(x), -1, x.shape[-1])
    # The gradient of `max` goes where a feature equals it, which may be nowhere, and NaN,
    # if a compiler computes the features twice and rounds otherwise; an index stays.
    highest = jnp.argmax(inside, axis=1, keepdims=True)
    peak = jnp.take_along_axis(inside, highest, axis=1)[:, None]
    share = jnp.asarray(delta, x.dtype)
    return jnp.minimum(rectified, peak * (share[:, None, None] if share.ndim else share))


@typed
def channel_means(
    x: Float[Array, "b h w k"], sizes: Int[Array, "b 2"] | None = None
) -> Float[jax.Array, "b k"]:
    """Means over each image's own pixels, in float32 at least."""
    x = mask_padding(jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32)), sizes)
    if sizes is None:
        return jnp.mean(x, axis=(1, 2))
    return jnp.sum(x, axis=(1, 2)) / jnp.prod(sizes, axis=1, dtype=x.dtype)[:, None]


class Suppression(nn.Module):
    """`suppress` with one delta for all or, where that is None, with delta =
    sigmoid(mean(r) W): one an image and channel.

    W is the parameter `kernel` [k, k], without bias; it starts near 0, and delta near
    1/2.
    """

    delta: float | None

    @nn.compact
    def __call__(self, x: Array, sizes: Array | None = None) -> jax.Array:
        if self.delta is not None:
            return suppress(x, self.delta, sizes)
        shape = (x.shape[-1], x.shape[-1])
        kernel = self.param("kernel", nn.initializers.normal(0.01), shape)
        means = channel_means(nn.relu(x), sizes)
        return suppress(x, nn.sigmoid(means @ kernel.astype(means.dtype)), sizes)


def rectified(x: Array, sizes: Array | None, suppression: str, number: int | str = "") -> jax.Array:
    """The ReLU of a network's features, or what takes its place; called inside a compact
    method, whose module then holds the parameters.

    Args:
      suppression: "" for a plain ReLU, a number for delta, or "learnable".
      number: of the module among those of the calling one.
    """
    if not suppression:
        return nn.relu(x)
    delta = None if suppression == LEARNABLE else float(suppression)
    return Suppression(delta, name=f"{SUPPRESSION}{number}")(x, sizes)
