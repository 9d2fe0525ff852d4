"""Feature similarity loss (FSL): CAM contours are pulled onto colour edges.

High-Fidelity Pseudo-Labels (Jonnarth, Zhang, Felsberg, WACV 2024). Pairs of pixels of
similar colour are paid to agree, pairs of different colour to disagree, near pairs more
than far ones. In the scores y the loss is a quadratic form:

    sum_ij w_ij 1/2 |y_i - y_j|^2 = <y, A y>
    (A y)_i = s_i y_i - sum_j w_ij y_j,   s_i = sum_j w_ij

so value and gradient need one weighting pass, a matrix product for each tile of pixels:
no [n, n, k] array, no square root.
"""

import functools

import jax
import jax.numpy as jnp

from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Float, typed

EPSILON = 1e-5
TILE_PIXELS = 256
"""Pixels of a tile, which is whole rows of the map (one at least): bounds a block of
weights to 256 pixels times those of its neighbourhood."""


def _colour_gate(distance: jax.Array, mu: float) -> jax.Array:
    """g(d) = tanh(mu + log((d + e) / (1 - d + e))) = (a^2 - 1) / (a^2 + 1), a = exp(mu)
    (d + e) / (1 - d + e).

    About -1 for equal colours and +1 for different ones. Multiplied through by (1 - d +
    e)^2, one division is left.
    """
    rise = jnp.square(jnp.exp(mu) * (distance + EPSILON))
    fall = jnp.square(1.0 - distance + EPSILON)
    return (rise - fall) / (rise + fall)


def _closeness(apart: jax.Array, sigma: float | None, window: int | None) -> jax.Array:
    """One axis of the spatial weight: the Gaussian is separable, and so is the square
    window.
    """
    near = jnp.ones_like(apart) if sigma is None else jnp.exp(-jnp.square(apart) / (2.0 * sigma**2))
    return near if window is None else jnp.where(jnp.abs(apart) <= window, near, 0.0)


def _weighted_laplacian(
    images: jax.Array, scores: jax.Array, mu: float, sigma: float | None, window: int | None
) -> jax.Array:
    """(A y)_i = sum_j w_ij (y_i - y_j) for every pixel, tile by tile; [b, h, w, k]."""
    b, height, width, k = scores.shape
    reach = height if window is None else min(window, height)
    rows = max(1, min(height, TILE_PIXELS // width))
    near_rows = min(height, rows + 2 * reach)
    first = reach if near_rows < height else 0  # of the tile's rows among those near it
    near, tile = slice(near_rows * width), slice(first * width, (first + rows) * width)

    # Before each tile the map is rolled, so that every tile lies at the same place:
    # slices that a loop's counter moves keep XLA from vectorising the loop over j on a
    # CPU. Rows that come round the edge are told by their number. A channel of ones
    # beside the scores makes s_i a column of the product.
    colours = images.transpose(0, 3, 1, 2).reshape(b, -1, height * width)
    scores_and_one = jnp.concatenate([scores, jnp.ones_like(scores[..., :1])], axis=-1).reshape(
        b, height * width, k + 1
    )
    row, column = (index.reshape(-1).astype(scores.dtype) for index in jnp.indices((height, width)))
    near_column = jnp.tile(
        _closeness(column[:width, None] - column[:width], sigma, window), near_rows
    )
    scale = 1.0 / (height * width) if sigma is None else 1.0 / (2.0 * jnp.pi * sigma**2)

    def roll(
        pixels: int, colours: jax.Array, scores_and_one: jax.Array, row: jax.Array
    ) -> tuple[jax.Array, ...]:
        return (
            jnp.roll(colours, pixels, axis=2),
            jnp.roll(scores_and_one, pixels, axis=1),
            jnp.roll(row, pixels),
        )

    def one_tile(rolled: tuple[jax.Array, ...], _) -> tuple[tuple[jax.Array, ...], jax.Array]:
        colours, scores_and_one, row = rolled
        x_i, x_j = colours[:, :, tile].reshape(b, -1, rows, width), colours[:, :, near]
        # Channel by channel, so that only [i, j] arrays exist.
        distance = jnp.zeros((), colours.dtype)
        for channel in range(x_i.shape[1]):
            distance += jnp.abs(x_i[:, channel, :, :, None] - x_j[:, channel, None, None, :])
        near_row = scale * _closeness(row[tile][::width, None] - row[near], sigma, window)
        weights = _colour_gate(distance / x_i.shape[1], mu) * (near_row[:, None, :] * near_column)
        weights = weights.reshape(b, rows * width, near_rows * width)
        sums = jnp.einsum("bij,bjk->bik", weights, scores_and_one[:, near], precision="highest")
        return roll(-rows * width, *rolled), sums

    count = -(-height // rows)
    start = roll(first * width, colours, scores_and_one, row)
    sums = jax.lax.scan(one_tile, start, length=count)[1].transpose(1, 0, 2, 3)
    sums = sums.reshape(b, count * rows, width, k + 1)[
        :, :height
    ]  # the last tile may have come round to the first rows
    return sums[..., -1:] * scores - sums[..., :-1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _dissimilarity(images, scores, mu, sigma, window):
    """<y, A y> of each image, [b]. A is symmetric, so the tangent is 2 <dy, A y>: the
    pass of the value serves the gradient.
    """
    return jnp.sum(scores * _weighted_laplacian(images, scores, mu, sigma, window), axis=(1, 2, 3))


@_dissimilarity.defjvp
def _dissimilarity_jvp(mu, sigma, window, primals, tangents):
    images, scores = primals
    laplacian = _weighted_laplacian(images, scores, mu, sigma, window)
    return jnp.sum(scores * laplacian, axis=(1, 2, 3)), 2.0 * jnp.sum(
        tangents[1] * laplacian, axis=(1, 2, 3)
    )


@typed
def feature_similarity_loss(
    images: Float[Array, "b h w 3"],
    scores: Float[Array, "b h w k"],
    *,
    mu: float | int = 2.5,
    sigma: float | int | None = 5.0,
    window: int | None = None,
) -> Float[jax.Array, ""]:
    """Feature similarity loss, mean over images and pixels.

      d_ij = 1/3 sum_c |x_ic - x_jc|
      g_ij = tanh(mu + log((d_ij + e) / (1 - d_ij + e))),  e = 1e-5
      G_ij = exp(-r_ij^2 / (2 sigma^2)) / (2 pi sigma^2)
      L_FSL = -1/(B h w) sum_ij G_ij g_ij 1/2 |y_i - y_j|^2

    with r_ij the distance of the pixels i and j. The loss may be negative. Only the
    scores receive a gradient: the images are data.

    Args:
      images: colours x in [0, 1] (not normalised) at the scores' resolution; values
        outside are clamped.
      scores: y, background and foreground scores of each pixel, see
        `similarity_scores`.
      mu: the colour distance at which a pair turns from attraction to repulsion (0.0759
        for 2.5; larger mu: smaller distance).
      sigma: reach of the spatial weight in pixels of the score map (5 was published for
        output stride 8; halve it at 16). None: every pair weighs 1 / (h w).
      window: None for all pairs (work quadratic in pixels). A radius R keeps pairs with
        at most R rows and R columns between them: linear in pixels. The sum over the
        other pairs is at most
          D max_ij 1/2 |y_i - y_j|^2,   D = 1 - (1 - t)^2
          t = sum_{|u| > R} exp(-u^2 / (2 sigma^2)) / (sqrt(2 pi) sigma)
        since |g| <= 1; R = 3 sigma gives D <= 0.006, R = 4 sigma D <= 0.0002.

    Returns:
      A float32 scalar (float64 for float64 scores); bfloat16 inputs are accumulated in
      float32.

    Source: HFPL, feature similarity loss; official program, CAM training of SEAM++.
    """
    scores = at_least_float32(scores)
    images = jnp.clip(jax.lax.stop_gradient(jnp.asarray(images, scores.dtype)), 0.0, 1.0)
    pixels = scores.shape[1] * scores.shape[2]
    per_image = _dissimilarity(
        images, scores, float(mu), None if sigma is None else float(sigma), window
    )
    return -jnp.mean(per_image) / pixels
