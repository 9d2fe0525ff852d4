"""Pixel correlation module (PCM): each pixel's scores become a mean over the pixels
that look like it.

Source: Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly
Supervised Semantic Segmentation", CVPR 2020, section 3.4 and figure 3; SEAM,
network/resnet38_SEAM.py.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.directions import softened_directions
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, typed

EPSILON = 1e-5
TIE = 6e-8  # of p: the spacing of float32 below 1
TILE_PIXELS = 1024
"""Pixels whose affinities to all others are held at a time: bounds the memory on large
images and in the backward pass.
"""


@typed
def correlation_scores(
    logits: Float[Array, "b h w c"], valid: Bool[Array, "b h w"] | None = None
) -> Float[Array, "b h w c+1"]:
    """What is handed from pixel to pixel: the background first, then the winning class
    of each pixel, no gradient.

      p = relu(s - e) / (max s + e) in each class
      background = 1 - max_c p_c

    p is about 1 at a class's best pixel, and 0 for a class that is nowhere positive. Of
    the classes, only the largest p of a pixel stays (ties stay), the others become 0.

    Where several classes have their peak at one pixel, each p is about 1 - 2 e / max s.
    They are compared by 1 - p, computed without cancellation: rounding, and with it
    the padding of a batch, must not decide which class stays.

    The maximum runs over the pixels where `valid`. Float32.
    """
    scores = jax.lax.stop_gradient(at_least_float32(logits))
    inside = scores if valid is None else jnp.where(valid[..., None], scores, -jnp.inf)
    peak = inside.max((1, 2), keepdims=True)
    rise = jax.nn.relu(scores - EPSILON)
    # A peak that is not positive leaves nothing to divide, and might make the divisor
    # zero.
    p = jnp.where(peak > EPSILON, rise / (jnp.maximum(peak, EPSILON) + EPSILON), 0.0)
    missing = jnp.where(
        peak > EPSILON,
        (peak - scores + 2.0 * EPSILON) / (jnp.maximum(peak, EPSILON) + EPSILON),
        jnp.inf,
    )  # 1 - p
    stays = missing <= missing.min(-1, keepdims=True) + TIE
    return jnp.concatenate([1.0 - p.max(-1, keepdims=True), jnp.where(stays, p, 0.0)], -1)


@typed
def pixel_correlation(
    logits: Float[Array, "b h w c"],
    features: Float[Array, "b h w k"],
    valid: Bool[Array, "b h w"] | None = None,
) -> Float[Array, "b h w c+1"]:
    """The corrected map, background first.

      f_i = features_i / (|features_i| + e),  a_ij = relu(<f_i, f_j>),  e = 1e-5
      corrected_j = sum_i a_ij y_i / (sum_i a_ij + e),  y = `correlation_scores(logits)`

    Args:
      logits: CAM logits of the foreground classes; no gradient goes back to them.
      features: embeddings to compare, at the resolution of the logits; they carry the
        gradient.
      valid: False in a batch's padding, which then takes no part; the result there is
        0. None: all are pixels of an image.

    Returns:
      float32. Work is quadratic in pixels; memory is linear, `TILE_PIXELS` rows of the
      affinity at a time, and the backward pass computes them again.
    """
    b, h, w, k = features.shape
    unit = softened_directions(features)  # one of 0 resembles nothing
    if valid is not None:
        unit = jnp.where(valid[..., None], unit, 0.0)
    unit = unit.reshape(b, h * w, k)
    scores = correlation_scores(logits, valid).reshape(b, h * w, -1)
    scores_and_one = jnp.concatenate([scores, jnp.ones_like(scores[..., :1])], -1)

    @jax.checkpoint
    def one_tile(tile):
        affinity = jax.nn.relu(jnp.einsum("bjk,bik->bji", tile, unit, precision="highest"))
        sums = jnp.einsum("bji,bic->bjc", affinity, scores_and_one, precision="highest")
        return sums[..., :-1] / (sums[..., -1:] + EPSILON)

    tile = min(h * w, TILE_PIXELS)
    count = -(-h * w // tile)
    tiles = jnp.pad(unit, ((0, 0), (0, count * tile - h * w), (0, 0))).reshape(b, count, tile, k)
    corrected = jax.lax.map(one_tile, tiles.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)
    return corrected.reshape(b, count * tile, -1)[:, : h * w].reshape(b, h, w, -1)
