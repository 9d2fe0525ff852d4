"""Affinity loss of AffinityNet: features learn which near pixels belong to one object.

Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level Supervision"
(PSA, CVPR 2018). A pair is two pixels of the feature map less than a radius apart; each
unordered pair occurs once, from a source pixel to the pixel an offset of the lower half
plane away:

    a_ij = exp(-1/K sum_k |f_ik - f_jk|)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, UInt8, typed

RADIUS = 5
"""Pairs are less than this many pixels apart."""
EPSILON = 1e-5


def half_plane_offsets(radius: int) -> tuple[tuple[int, int], ...]:
    """(rows down, columns right) from a source to the other pixel of its pairs, nearer
    rows first; 34 offsets for radius 5.

    Those to the right in the row itself, then all with dx^2 + dy^2 < radius^2 in the
    rows below.

    Source: PSA, get_indices_of_pairs.
    """
    reach = range(1 - radius, radius)
    below = (
        (dy, dx) for dy in range(1, radius) for dx in reach if dx * dx + dy * dy < radius * radius
    )
    return (*((0, dx) for dx in range(1, radius)), *below)


def map_radius(height: int, width: int) -> int:
    """The radius of a map's pairs: 5, or the largest that leaves a source in a map
    whose shorter edge is below 11.

    Source: PSA, the affinity network's forward pass.
    """
    return min(RADIUS, (min(height, width) - 1) // 2)


def _source_region(height: int, width: int) -> tuple[int, int, int]:
    """Rows and columns of the sources, and the column of the first: every offset from a
    source ends inside the map.

    Raises:
      InputError: the map is too small for any pair.
    """
    reach = map_radius(height, width) - 1
    if reach < 1:
        raise InputError(
            f"A feature map of {height} x {width} has no pairs of pixels. Use larger crops: 5 "
            "pixels of the map at least."
        )
    return height - reach, width - 2 * reach, reach


@typed
def pair_affinities(features: Float[Array, "b h w k"]) -> Float[jax.Array, "b offsets sources"]:
    """a_ij of all pairs; the offsets are those of `half_plane_offsets(map_radius(h,
    w))`, the sources run row by row.

    Sources leave out the radius-1 columns at the left and right and the radius-1 rows
    at the bottom. One offset's differences exist at a time, in the backward pass too,
    which makes them again: memory is a few times that of the features, not 34 times.

    Args:
      features: f; bfloat16 is computed in float32.

    Raises:
      InputError: the map has an edge below 5 pixels.

    Source: PSA, the affinity network's forward pass.
    """
    features = at_least_float32(features)
    b, height, width, channels = features.shape
    rows, columns, left = _source_region(height, width)
    sources = features[:, :rows, left : left + columns]

    @jax.checkpoint
    def one_offset(offset):
        targets = jax.lax.dynamic_slice(
            features, (0, offset[0], left + offset[1], 0), (b, rows, columns, channels)
        )
        return jnp.exp(-jnp.mean(jnp.abs(sources - targets), axis=-1))

    affinities = jax.lax.map(one_offset, jnp.asarray(half_plane_offsets(left + 1)))
    return affinities.transpose(1, 0, 2, 3).reshape(b, -1, rows * columns)


class PairMasks(NamedTuple):
    """Which pairs are both background, both of one foreground class, or of two
    different labels; pairs with an ignored pixel are none.
    """

    background: Bool[Array, "b offsets sources"]
    foreground: Bool[Array, "b offsets sources"]
    negative: Bool[Array, "b offsets sources"]


@typed
def pair_masks(label_maps: UInt8[Array, "b h w"]) -> PairMasks:
    """The kind of each pair, in the order of `pair_affinities`.

    Args:
      label_maps: 0 background, 255 ignored, everything between a foreground class.

    Raises:
      InputError: the map has an edge below 5 pixels.

    Source: PSA, ExtractAffinityLabelInRadius.
    """
    label_maps = jnp.asarray(label_maps)
    b, height, width = label_maps.shape
    rows, columns, left = _source_region(height, width)

    def labels_at(dy: int, dx: int) -> jax.Array:
        return label_maps[:, dy : dy + rows, left + dx : left + dx + columns].reshape(
            b, 1, rows * columns
        )

    sources = labels_at(0, 0)
    targets = jnp.concatenate(
        [labels_at(dy, dx) for dy, dx in half_plane_offsets(left + 1)], axis=1
    )
    known = (sources != IGNORE) & (targets != IGNORE)
    equal = sources == targets
    return PairMasks(equal & (sources == 0), known & equal & (sources != 0), known & ~equal)


class AffinityTerms(NamedTuple):
    """The three masked means of the affinity loss."""

    background: Float[jax.Array, ""]
    foreground: Float[jax.Array, ""]
    negative: Float[jax.Array, ""]


@typed
def affinity_terms(
    affinities: Float[Array, "b offsets sources"], label_maps: UInt8[Array, "b h w"]
) -> AffinityTerms:
    """What `affinity_loss` weighs: a mean for each kind of pair, 0 where there is none;
    counts run over the whole batch.

      background, foreground:  mean of -log(a + e)
      negative:                mean of -log(1 + e - a),   e = 1e-5
    """
    affinities = at_least_float32(affinities)
    masks = pair_masks(label_maps)

    def masked_mean(values: jax.Array, mask: Array) -> jax.Array:
        return jnp.sum(jnp.where(mask, values, 0.0)) / (jnp.sum(mask, dtype=values.dtype) + EPSILON)

    attraction = -jnp.log(affinities + EPSILON)
    repulsion = -jnp.log(1.0 + EPSILON - affinities)
    return AffinityTerms(
        masked_mean(attraction, masks.background),
        masked_mean(attraction, masks.foreground),
        masked_mean(repulsion, masks.negative),
    )


@typed
def affinity_loss(
    affinities: Float[Array, "b offsets sources"], label_maps: UInt8[Array, "b h w"]
) -> Float[jax.Array, ""]:
    """Affinity loss: pairs of one label shall be similar, pairs of two labels
    different.

      L = 1/4 L_bg+ + 1/4 L_fg+ + 1/2 L_neg

    Args:
      affinities: of `pair_affinities`, for the features of a batch of crops.
      label_maps: 0 background, 255 ignored, everything between a foreground class; at
        the features' resolution.

    Returns:
      A float32 scalar (float64 for float64 affinities), 0 where everything is ignored.

    Raises:
      InputError: the map has an edge below 5 pixels.

    Source: PSA, section 3.2; its program, train_aff.py.
    """
    terms = affinity_terms(affinities, label_maps)
    return terms.background / 4.0 + terms.foreground / 4.0 + terms.negative / 2.0
