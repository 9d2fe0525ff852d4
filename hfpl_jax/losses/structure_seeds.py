"""Structure-aware seeds: each pixel goes to the class whose score map looks most like
the map of what resembles the pixel.

Chen et al., "Self-supervised Image-specific Prototype Exploration for Weakly Supervised
Semantic Segmentation" (SIPE), CVPR 2022, section 3.2.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Float, typed

EPSILON = 1e-5
BACKGROUND = 0.5
"""What the background's overlap is multiplied by: objects are smaller than what is
around them.
"""

BLOCK_BYTES = 32 * 2**20
"""Of the resemblances that are held at a time, those of some pixels to all others: what
computes them may hold a second block of this size.
"""


@typed
def structure_seeds(
    features: Float[Array, "b h w k"], scores: Float[Array, "b h w n"]
) -> Float[jax.Array, "b h w n"]:
    """1 in the channel of a pixel's class, 0 in the others; no gradient.

      f_i = features_i / (|features_i| + e),  R_ij = relu(<f_i, f_j>),  e = 1e-5
      inter_ic = sum_j R_ij s_jc
      union_ic = sum_j R_ij + sum_j s_jc - inter_ic
      seed_i = argmax_c a_c inter_ic / union_ic,  a = 1/2 for the background, else 1

    Of equal overlaps the first class wins. A pixel that resembles nothing, among
    classes that score nowhere, is background.

    The work is quadratic in the pixels. R is never whole: 4 b t n bytes of it are there
    at a time, the rows of t pixels of each image to all n, and t is such that these are
    `BLOCK_BYTES` at most (t = 1 at least: of 8 million pixels it is one row). In an
    exported program, which takes any number of images, b counts as 1.

    Args:
      features: what is compared, in any dtype. A pixel that must take no part, such as
        one in a batch's padding, is 0 here and in the scores.
      scores: s in [0, 1], background first.

    Source: SIPE, network/resnet50_SIPE.py of its program.
    """
    b, h, w, k = features.shape
    pixels, n = h * w, scores.shape[-1]
    x = jax.lax.stop_gradient(jnp.asarray(features)).reshape(b, pixels, k)
    s = jax.lax.stop_gradient(at_least_float32(scores)).reshape(b, pixels, n)
    # relu(<f_i, f_j>) = relu(<x_i, x_j>) / (|x_i| |x_j|): no second copy of the features.
    square = jnp.einsum("bik,bik->bi", x, x, preferred_element_type=s.dtype)
    shrink = 1.0 / (jnp.sqrt(square) + EPSILON)
    with_one = jnp.concatenate([s, jnp.ones_like(s[..., :1])], axis=-1) * shrink[..., None]
    images = b if isinstance(b, int) else 1  # of an exported program nobody knows how many
    rows = max(1, min(pixels, BLOCK_BYTES // (4 * images * pixels)))

    def one_block(index: jax.Array, sums: jax.Array) -> jax.Array:
        first = jnp.minimum(index * rows, pixels - rows)  # the last one may meet the one before
        block = jax.lax.dynamic_slice_in_dim(x, first, rows, axis=1)
        resemblance = jax.nn.relu(
            jnp.einsum(
                "bik,bjk->bij", block, x, precision="highest", preferred_element_type=s.dtype
            )
        )
        of_block = jnp.einsum("bij,bjc->bic", resemblance, with_one, precision="highest")
        return jax.lax.dynamic_update_slice_in_dim(sums, of_block, first, axis=1)

    sums = jax.lax.fori_loop(0, -(-pixels // rows), one_block, jnp.zeros_like(with_one))
    sums = sums * shrink[..., None]
    inter = sums[..., :-1]
    union = sums[..., -1:] + jnp.sum(s, axis=1, keepdims=True) - inter
    overlap = jnp.where(union > 0.0, inter / jnp.where(union > 0.0, union, 1.0), 0.0)
    best = jnp.argmax(overlap.at[..., 0].multiply(BACKGROUND), axis=-1)
    return jax.nn.one_hot(best, n, dtype=s.dtype).reshape(b, h, w, n)
