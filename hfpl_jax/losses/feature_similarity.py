"""Feature similarity loss (FSL): CAM contours are pulled onto colour edges.

High-Fidelity Pseudo-Labels (Jonnarth, Zhang, Felsberg, WACV 2024). Pairs of pixels of similar colour are paid to agree,
pairs of different colour to disagree, near pairs more than far ones. In the scores y the loss is a quadratic form:

    sum_ij w_ij 1/2 |y_i - y_j|^2 = <y, A y>,   (A y)_i = s_i y_i - sum_j w_ij y_j,   s_i = sum_j w_ij

so value and gradient need one weighting pass, a matrix product for each tile of pixels: no [n, n, k] array, no square root.
"""

import functools

import jax
import jax.numpy as jnp

from hfpl_jax.losses.precision import at_least_float32
from hfpl_jax.shapes import Array, Float, typed

EPSILON = 1e-5
TILE_PIXELS = 512
"""Pixels of a tile: bounds the memory of one block of weights to 512 pixels times the pixels of its neighbourhood."""


def _colour_gate(distance: jax.Array, mu: float) -> jax.Array:
    """g(d) = tanh(mu + log((d + e) / (1 - d + e))) = (a^2 - 1) / (a^2 + 1), a = exp(mu) (d + e) / (1 - d + e).

    About -1 for equal colours and +1 for different ones. Multiplied through by (1 - d + e)^2, one division is left.
    """
    rise = jnp.square(jnp.exp(mu) * (distance + EPSILON))
    fall = jnp.square(1.0 - distance + EPSILON)
    return (rise - fall) / (rise + fall)


def _tile_sides(height: int, width: int) -> tuple[int, int]:
    """Full rows where they fit, else pieces of a row."""
    columns = min(width, TILE_PIXELS)
    return max(1, min(height, TILE_PIXELS // columns)), columns


def _weighted_laplacian(images: jax.Array, scores: jax.Array, mu: float, sigma: float | None, window: int | None) -> jax.Array:
    """(A y)_i = sum_j w_ij (y_i - y_j) for every pixel, tile by tile; [b, h, w, k]."""
    b, height, width, k = scores.shape
    reach_rows, reach_columns = (height, width) if window is None else (min(window, height), min(window, width))
    tile_rows, tile_columns = _tile_sides(height, width)
    grid = (-(-height // tile_rows), -(-width // tile_columns))

    # A tile's neighbourhood is the tile widened by the window and cut to the image: a block of static size that starts
    # inside the image, so that nothing is padded on the side of j.
    near_rows, near_columns = min(height, tile_rows + 2 * reach_rows), min(width, tile_columns + 2 * reach_columns)
    padding = ((0, 0), (0, grid[0] * tile_rows - height), (0, grid[1] * tile_columns - width), (0, 0))
    images_i, scores_i = jnp.pad(images, padding), jnp.pad(scores, padding)

    def one_tile(index: jax.Array) -> jax.Array:
        top, left = index // grid[1] * tile_rows, index % grid[1] * tile_columns
        near_top = jnp.clip(top - reach_rows, 0, height - near_rows)
        near_left = jnp.clip(left - reach_columns, 0, width - near_columns)

        def cut(array, row, column, rows, columns):
            block = jax.lax.dynamic_slice(array, (0, row, column, 0), (b, rows, columns, array.shape[-1]))
            return block.reshape(b, rows * columns, array.shape[-1])

        x_i, y_i = (cut(array, top, left, tile_rows, tile_columns) for array in (images_i, scores_i))
        x_j, y_j = (cut(array, near_top, near_left, near_rows, near_columns) for array in (images, scores))

        # Channel by channel, so that only [i, j] arrays exist.
        distance = sum(jnp.abs(x_i[:, :, None, channel] - x_j[:, None, :, channel]) for channel in range(images.shape[-1]))
        gate = _colour_gate(distance / images.shape[-1], mu)

        rows_apart = (top + jnp.arange(tile_rows))[:, None] - (near_top + jnp.arange(near_rows))[None, :]
        columns_apart = (left + jnp.arange(tile_columns))[:, None] - (near_left + jnp.arange(near_columns))[None, :]
        near_row, near_column = (_closeness(apart.astype(scores.dtype), sigma, window) for apart in (rows_apart, columns_apart))
        near = near_row[:, None, :, None] * near_column[None, :, None, :]
        scale = 1.0 / (height * width) if sigma is None else 1.0 / (2.0 * jnp.pi * sigma**2)
        weights = gate * (scale * near).reshape(tile_rows * tile_columns, near_rows * near_columns)
        return jnp.sum(weights, axis=-1, keepdims=True) * y_i - jnp.einsum("bij,bjk->bik", weights, y_j, precision="highest")

    tiles = jax.lax.map(one_tile, jnp.arange(grid[0] * grid[1]))
    tiles = tiles.reshape(*grid, b, tile_rows, tile_columns, k).transpose(2, 0, 3, 1, 4, 5)
    return tiles.reshape(b, grid[0] * tile_rows, grid[1] * tile_columns, k)[:, :height, :width]


def _closeness(apart: jax.Array, sigma: float | None, window: int | None) -> jax.Array:
    """One axis of the spatial weight: the Gaussian is separable, and so is the square window."""
    near = jnp.ones_like(apart) if sigma is None else jnp.exp(-jnp.square(apart) / (2.0 * sigma**2))
    return near if window is None else jnp.where(jnp.abs(apart) <= window, near, 0.0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _dissimilarity(images, scores, mu, sigma, window):
    """<y, A y> of each image, [b]. A is symmetric, so the tangent is 2 <dy, A y>: the pass of the value serves the gradient."""
    return jnp.sum(scores * _weighted_laplacian(images, scores, mu, sigma, window), axis=(1, 2, 3))


@_dissimilarity.defjvp
def _dissimilarity_jvp(mu, sigma, window, primals, tangents):
    images, scores = primals
    laplacian = _weighted_laplacian(images, scores, mu, sigma, window)
    return jnp.sum(scores * laplacian, axis=(1, 2, 3)), 2.0 * jnp.sum(tangents[1] * laplacian, axis=(1, 2, 3))


@typed
def feature_similarity_loss(
    images: Float[Array, "b h w 3"],
    scores: Float[Array, "b h w k"],
    *,
    mu: float | int = 2.5,
    sigma: float | int | None = 5.0,
    window: int | None = None,
) -> Float[Array, ""]:
    """Feature similarity loss, mean over images and pixels.

      d_ij = 1/3 sum_c |x_ic - x_jc|
      g_ij = tanh(mu + log((d_ij + e) / (1 - d_ij + e))),  e = 1e-5
      L_FSL = -1/(B h w) sum_ij G_ij g_ij 1/2 |y_i - y_j|^2,   G_ij = exp(-r_ij^2 / (2 sigma^2)) / (2 pi sigma^2)

    with r_ij the distance of the pixels i and j. The loss may be negative. Only the scores receive a gradient: the images
    are data.

    Args:
      images: colours x in [0, 1] (not normalised) at the scores' resolution; values outside are clamped.
      scores: y, background and foreground scores of each pixel, see `similarity_scores`.
      mu: the colour distance at which a pair turns from attraction to repulsion (0.0759 for 2.5; larger mu: smaller distance).
      sigma: reach of the spatial weight in pixels of the score map (5 was published for output stride 8; halve it at 16).
        None: every pair weighs 1 / (h w).
      window: None for all pairs (work quadratic in pixels). A radius R keeps pairs with at most R rows and R columns between
        them: linear in pixels. What is left out is at most
          D max_ij 1/2 |y_i - y_j|^2,   D = 1 - (1 - t)^2,   t = sum_{|u| > R} exp(-u^2 / (2 sigma^2)) / (sqrt(2 pi) sigma)
        since |g| <= 1; R = 3 sigma gives D <= 0.006, R = 4 sigma D <= 0.0002.

    Returns:
      A float32 scalar (float64 for float64 scores); bfloat16 inputs are accumulated in float32.

    Source: HFPL, feature similarity loss; official program, CAM training of SEAM++.
    """
    scores = at_least_float32(scores)
    images = jnp.clip(jax.lax.stop_gradient(jnp.asarray(images, scores.dtype)), 0.0, 1.0)
    pixels = scores.shape[1] * scores.shape[2]
    per_image = _dissimilarity(images, scores, float(mu), None if sigma is None else float(sigma), window)
    return -jnp.mean(per_image) / pixels
