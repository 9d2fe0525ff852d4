"""Adaptive minimum pooling: part of every image has to be background.

Without it the corrected maps of SEAM may cover the whole image, as nothing else in its
losses holds them down everywhere.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.losses.largest import mean_of_largest
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, Num, typed

LOWEST = 4
"""One pixel in four is expected to belong to no class."""


@typed
def min_pooling_loss(
    corrected: Float[Array, "b h w c"], labels: Num[Array, "b c"] | Bool[Array, "b c"]
) -> Float[jax.Array, ""]:
    """The lowest quarter of an image's pixels is pulled to 0 in every class the image
    has.

      m_bp = max_c y_bc v_bpc
      L = mean over images of the mean of relu(m_bp) over its k smallest pixels

    with k = floor(h w / 4), at least 1.

    Args:
      corrected: v, the corrected maps of the foreground classes, not normalised.
      labels: image labels y in {0, 1}.

    Source: SEAM, adaptive_min_pooling_loss of its program, train_SEAM.py, loss_rvmin.
    """
    b, h, w, _ = corrected.shape
    strongest = jnp.max(at_least_float32(corrected) * labels[:, None, None, :], axis=-1).reshape(
        b, h * w
    )
    return -jnp.mean(mean_of_largest(-jax.nn.relu(strongest), max(1, h * w // LOWEST)))
