"""Means of features over the regions of a photograph."""

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array, Float, Int, typed


@typed
def region_means(
    features: Float[Array, "b h w c"], regions: Int[Array, "b H W"], count: int
) -> tuple[Float[jax.Array, "b n c"], Float[jax.Array, "b n"]]:
    """m_r = 1/|r| sum_{i in r} f(cell of pixel i), float32, and |r|, the pixels of region
    r; a region without a pixel has the mean 0.

    A cell of the features counts for a region by the pixels that they share, so that none
    is too small to have a mean. Computed as a matrix [count, h w] of these numbers times
    the features: 5 MB for 400 regions of 375 x 500 pixels in cells of 8.

    Args:
      features: of cells of H / h by W / w pixels, or the last ones of fewer.
      regions: 0 ... count - 1 of each pixel; -1 where it is of none.
      count: the most regions that there may be.
    """
    (height, width), (rows, columns) = regions.shape[1:], features.shape[1:3]
    row = jnp.arange(height) // -(-height // rows)
    column = jnp.arange(width) // -(-width // columns)
    cell = row[:, None] * columns + column

    def shared(of_image: jax.Array) -> jax.Array:
        cells = rows * columns
        place = jnp.where(of_image >= 0, of_image * cells + cell, count * cells)
        pixels = jnp.ones(height * width, jnp.float32)
        return jax.ops.segment_sum(pixels, place.ravel(), count * cells).reshape(count, cells)

    pixels = jax.vmap(shared)(jnp.asarray(regions))
    flat = jnp.asarray(features, jnp.float32).reshape(len(features), rows * columns, -1)
    sums = jnp.einsum("bni,bic->bnc", pixels, flat, precision="highest")
    areas = jnp.sum(pixels, axis=-1)
    return sums / jnp.maximum(areas, 1.0)[..., None], areas
