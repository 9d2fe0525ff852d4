"""Random walk: scores spread over a photograph along its affinities, as far as the
first strong contour.

Ahn and Kwak (PSA, CVPR 2018), section 3.3. With A the matrix of affinities of near
pixels (1 on its diagonal, 0 for all other pairs),

    T = A^beta D^-1   (beta elementwise, D the column sums)
    scores <- T^t applied to the scores

The original multiplies dense [n, n] matrices. A pixel has 68 neighbours at most, so t
steps over that stencil are the same product with hundreds of times less work, and A is
never made: [b, 34, h, w] affinities hold each pair once.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.losses.affinity import RADIUS, half_plane_offsets
from hfpl_jax.precision import at_least_float32
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.shapes import Array, Float, Int, typed

_REACH = RADIUS - 1
_OFFSETS = half_plane_offsets(RADIUS)


def _pad(maps: jax.Array) -> jax.Array:
    """Zeros as wide as the stencil reaches around maps [b, ..., h, w]."""
    return jnp.pad(maps, [(0, 0)] * (maps.ndim - 2) + [(_REACH, _REACH)] * 2)


def _pair_exists(height: int, width: int, sizes: jax.Array) -> jax.Array:
    """Whether the affinity network knows the pair from a pixel to the one an offset
    away, [b, offsets, h, w] of bool.

    The sources are those of `pair_affinities`, inside each map's own extent; a map
    whose shorter edge is below 11 has a smaller radius and below 5 no pairs at all.
    """
    rows_of, columns_of = (sizes[:, axis, None, None, None] for axis in (0, 1))
    radius = jnp.minimum(RADIUS, (jnp.minimum(rows_of, columns_of) - 1) // 2)
    reach = radius - 1
    row, column = jnp.arange(height)[:, None], jnp.arange(width)
    is_source = (row < rows_of - reach) & (column >= reach) & (column < columns_of - reach)
    length = jnp.asarray([dy * dy + dx * dx for dy, dx in _OFFSETS])[:, None, None]
    return is_source & (length < radius * radius) & (radius > 1)


def _extents(maps: Array, sizes: Array | None) -> jax.Array:
    """The sizes [b, 2] of the maps [b, h, w, k]: all whole if none are given."""
    return (
        jnp.broadcast_to(jnp.asarray(maps.shape[1:3]), (len(maps), 2))
        if sizes is None
        else jnp.asarray(sizes)
    )


@typed
def stencil_affinities(
    features: Float[Array, "b h w k"], sizes: Int[Array, "b 2"] | None = None
) -> Float[jax.Array, "b offsets h w"]:
    """exp(-1/K sum_k |f_ik - f_jk|) from each pixel i to the pixel j at each of the 34
    offsets; 0 where there is no such pair.

    The pairs are those of `pair_affinities`, so pixels within 4 of the left and right
    edges have few, and between two pixels of the last 4 rows there are none.

    Args:
      features: of the affinity network; bfloat16 is computed in float32.
      sizes: rows and columns of each map in a padded batch, whose extents begin at the
        top left; None for the whole array.
    """
    features = at_least_float32(features)
    b, height, width, channels = features.shape
    padded = jnp.pad(features, ((0, 0), (0, _REACH), (_REACH, _REACH), (0, 0)))

    def one_offset(offset):
        other = jax.lax.dynamic_slice(
            padded, (0, offset[0], _REACH + offset[1], 0), (b, height, width, channels)
        )
        return jnp.exp(-jnp.mean(jnp.abs(features - other), axis=-1))

    affinities = jax.lax.map(one_offset, jnp.asarray(_OFFSETS)).transpose(1, 0, 2, 3)
    # Selected, not multiplied: the padding of a batch may hold anything.
    return jnp.where(_pair_exists(height, width, _extents(features, sizes)), affinities, 0.0)


@typed
def walk(
    affinities: Float[Array, "b offsets h w"],
    scores: Float[Array, "b h w k"],
    *,
    beta: int = 8,
    steps: int = 64,
) -> Float[jax.Array, "b h w k"]:
    """t steps of the walk over given affinities; a pixel without pairs keeps its
    scores.

    As A is symmetric, a step is y_i <- sum_j A_ij^beta y_j / sum_j A_ij^beta: a
    weighted mean over the pixel and its neighbours. It costs 138 k operations a pixel.

    Args:
      affinities: of `stencil_affinities`.
      scores: y.
      beta: exponent of the affinities; the larger, the more contours hold.
      steps: t; the original's 2^logt.
    """
    height, width = scores.shape[1:3]

    def shifted(maps: jax.Array, dy: int, dx: int) -> jax.Array:
        """The part of padded maps that lies (dy, dx) from each pixel."""
        return maps[..., _REACH + dy : _REACH + dy + height, _REACH + dx : _REACH + dx + width]

    # Each pixel's row of T^T: itself, the pairs it is the source of, and those it is
    # the other end of, stored at their source.
    forward = at_least_float32(affinities) ** beta
    padded = _pad(forward)
    backward = jnp.stack(
        [shifted(padded[:, index], -dy, -dx) for index, (dy, dx) in enumerate(_OFFSETS)], axis=1
    )
    stencil = jnp.concatenate([jnp.ones_like(forward[:, :1]), forward, backward], axis=1)
    stencil = stencil / jnp.sum(stencil, axis=1, keepdims=True)
    neighbours = [(0, 0), *_OFFSETS, *((-dy, -dx) for dy, dx in _OFFSETS)]

    def step(_, maps: jax.Array) -> jax.Array:
        around = _pad(maps)
        walked = jnp.zeros_like(maps)
        for index, (dy, dx) in enumerate(neighbours):
            walked += stencil[:, index, None] * shifted(around, dy, dx)
        return walked

    # Channels in front: the innermost axis is then a row of the map, long whatever the
    # number of classes.
    channels_first = at_least_float32(scores).transpose(0, 3, 1, 2)
    return jax.lax.fori_loop(0, steps, step, channels_first).transpose(0, 2, 3, 1)


@typed
def random_walk(
    features: Float[Array, "b h w k"],
    scores: Float[Array, "b h w c"],
    sizes: Int[Array, "b 2"] | None = None,
    *,
    beta: int = 8,
    steps: int = 64,
) -> Float[jax.Array, "b h w c"]:
    """Walks the scores of the background and of foreground classes along the affinities
    of the features.

    Args:
      features: of the affinity network.
      scores: CAMs behind their background (`background_score`, of alpha 6 as published,
        or `threshold_background`), averaged over cells by `average_pool`. Only the
        classes in a photograph are needed: all others score 0 before and after. A
        channel of zeros, for a photograph with fewer classes than others in its batch,
        stays zero.
      sizes: rows and columns of each map in a padded batch; None for the whole array.
        The result inside a map's extent does not depend on the padding (whose scores
        must be finite); outside it is the given scores.
      beta, steps: see `walk`.

    Source: PSA and SEAM, infer_aff.py.
    """
    return walk(stencil_affinities(features, sizes), scores, beta=beta, steps=steps)


@typed
def upsample_walked(
    scores: Float[Array, "b h w k"], sizes: Int[Array, "b 2"] | None = None, *, cell: int = 8
) -> Float[jax.Array, "b H W k"]:
    """Walked scores at the photographs' resolution, bilinear (align_corners=False); [b,
    cell h, cell w, k].

    The strongest channel of a pixel is its label, 0 for the background.

    Args:
      scores: of `random_walk`.
      sizes: rows and columns of each map in a padded batch; its last row and column
        continue into the padding, so that a photograph's pixels see no score from
        outside.
      cell: pixels a side of a cell.
    """
    b, height, width, _ = scores.shape
    last = _extents(scores, sizes) - 1
    rows, columns = (
        jnp.minimum(jnp.arange(side), last[:, axis, None])
        for axis, side in ((0, height), (1, width))
    )
    continued = jnp.asarray(scores)[
        jnp.arange(b)[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return resize_bilinear(continued, (height * cell, width * cell), align_corners=False)
