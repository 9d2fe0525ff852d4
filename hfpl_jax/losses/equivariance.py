"""Equivariant regularisation: the maps of an image and of the same image made smaller
have to agree.

SEAM (Wang et al., "Self-supervised Equivariant Attention Mechanism", CVPR 2020),
section 3. The scores of both views are at one size, that of the smaller view; each view
has two maps of scores, its CAM's and its corrected map's (the CAM after the pixel
correlation module).
"""

import jax
import jax.numpy as jnp

from hfpl_jax.losses.largest import mean_of_largest
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Float, typed

HARDEST = 0.2
"""The share of an image's differences that the cross loss looks at: the large ones, as
most of a map is 0 in both views.
"""


def _distance(first: Array, second: Array) -> jax.Array:
    """|first - second|. Equal scores stay at rest, as in the original: JAX gives the
    absolute value the slope 1 at 0.
    """
    difference = at_least_float32(first) - at_least_float32(second)
    return difference * jax.lax.stop_gradient(jnp.sign(difference))


@typed
def equivariance_loss(
    first: Float[Array, "b h w c"], second: Float[Array, "b h w c"]
) -> Float[jax.Array, ""]:
    """Equivariant regularisation (ER) of the CAMs of two views.

      L_ER = mean |y1 - y2|   over images, pixels and foreground classes

    Args:
      first, second: foreground scores in [0, 1], `max_normalize` times the label, at
        one size.

    Source: SEAM, section 3; its program, train_SEAM.py, loss_er.
    """
    return jnp.mean(_distance(first, second))


@typed
def keep_strongest(scores: Float[Array, "b h w k"]) -> Float[jax.Array, "b h w k"]:
    """Sets every foreground score below its pixel's largest to 0; ties stay, and the
    background (channel 0) stays as it is.

    Source: SEAM, max_onehot of its program. In spite of that name the values are kept.
    """
    foreground = scores[..., 1:]
    strongest = jnp.where(foreground < jnp.max(foreground, axis=-1, keepdims=True), 0.0, foreground)
    return jnp.concatenate([scores[..., :1], strongest], axis=-1)


def _hardest_mean(target: Array, corrected: Array) -> jax.Array:
    """The mean over images of the largest fifth of |strongest(target) - corrected|,
    pixels and channels alike.
    """
    distance = _distance(jax.lax.stop_gradient(keep_strongest(target)), corrected).reshape(
        target.shape[0], -1
    )
    count = max(1, int(distance.shape[1] * HARDEST))
    return jnp.mean(mean_of_largest(distance, count))


@typed
def equivariant_cross_loss(
    first: Float[Array, "b h w k"],
    second: Float[Array, "b h w k"],
    corrected_first: Float[Array, "b h w k"],
    corrected_second: Float[Array, "b h w k"],
) -> Float[jax.Array, ""]:
    """Equivariant cross regularisation (ECR): the CAM of each view teaches the
    corrected map of the other.

      L_ECR = top(|s(y2) - r1|) + top(|s(y1) - r2|)

    with y the scores of the CAMs, r those of the corrected maps, s = `keep_strongest`
    and top(.) the mean of the n largest values of each image, n = floor(0.2 k h w) and
    at least 1. Only r receives a gradient: y is the teacher.

    Args:
      first, second: y, foreground scores with their background in front, see
        `add_background`.
      corrected_first, corrected_second: r, `max_normalize` times the label; channel 0
        is the background that the pixel correlation module made, its own map and not
        the rest of the foreground.

    Source: SEAM, section 3; its program, train_SEAM.py, loss_ecr.
    """
    return _hardest_mean(second, corrected_first) + _hardest_mean(first, corrected_second)
