"""Resizing and mirroring of maps that fill only a part of their array, each its own."""

import jax
import jax.numpy as jnp

from hfpl_jax.resize import resize_bilinear
from hfpl_jax.shapes import Array, Float, Int, typed


@typed
def extent(sizes: Int[Array, "b 2"], stride: int) -> Int[Array, "b 2"]:
    """Rows and columns that images of `sizes` have in a feature of this stride:
    `ceil(size / stride)`.
    """
    return -(-sizes // stride)


@typed
def resize_padded(
    maps: Float[Array, "b h w k"],
    size: tuple[int, int],
    source: Int[Array, "b 2"] | None,
    target: Int[Array, "b 2"] | None,
    *,
    align_corners: bool = True,
) -> Float[Array, "b H W k"]:
    """Each image's corner of `maps`, `source` (rows, columns), resized into the corner
    `target` of a map of `size`.

    Behind `target` the last row and column of the image repeat; what lies behind
    `source` is never read. With None for both this is `resize_bilinear`. Computed in
    float32 at full precision, returned in the dtype of `maps`.
    """
    if source is None or target is None:
        return resize_bilinear(maps, size, align_corners=align_corners)
    rows, columns = (
        _interpolation_matrices(
            source[:, axis], target[:, axis], maps.shape[1 + axis], size[axis], align_corners
        )
        for axis in (0, 1)
    )
    resized = jnp.einsum("bHh,bhwk->bHwk", rows, maps.astype(jnp.float32), precision="highest")
    return jnp.einsum("bWw,bHwk->bHWk", columns, resized, precision="highest").astype(maps.dtype)


def _interpolation_matrices(source, target, source_length, target_length, align_corners):
    """[b, target_length, source_length]: position i reads coordinate i (source - 1) /
    (target - 1) or, without aligned corners, (i + 1/2) source / target - 1/2, each
    image its own.

    The coordinate is split in integers, so it is as exact as the host's float64 one.
    """
    source, target = source[:, None], target[:, None]
    place = jnp.minimum(jnp.arange(target_length), target - 1)
    if align_corners:
        numerator, denominator = place * (source - 1), jnp.maximum(target - 1, 1)
    else:
        denominator = 2 * target
        numerator = jnp.clip((2 * place + 1) * source - target, 0, (source - 1) * denominator)
    lower, fraction = numerator // denominator, (numerator % denominator) / denominator
    position = jnp.arange(source_length)
    upper = jnp.minimum(lower + 1, source - 1)
    weight = fraction[..., None].astype(jnp.float32)
    return (position == lower[..., None]) * (1.0 - weight) + (position == upper[..., None]) * weight


@typed
def shrink_padded(
    maps: Float[Array, "b h w k"],
    size: tuple[int, int],
    source: Float[Array, "b 2"] | Int[Array, "b 2"],
    target: Float[Array, "b 2"] | Int[Array, "b 2"],
) -> Float[jax.Array, "b H W k"]:
    """Each image's corner of `maps`, `source` (rows, columns), made smaller into the
    corner `target` of a map of `size`: means over the areas that its pixels cover.

    A side may end inside a pixel. Where both are one size an image stays as it is;
    behind `target` all is 0, and what lies behind `source` counts for nothing.
    """
    rows, columns = (
        _area_matrices(source[:, axis], target[:, axis], maps.shape[1 + axis], size[axis])
        for axis in (0, 1)
    )
    means = jnp.einsum("bHh,bhwk->bHwk", rows, maps, precision="highest")
    return jnp.einsum("bWw,bHwk->bHWk", columns, means, precision="highest")


def _area_matrices(source, target, source_length, target_length):
    """[b, target_length, source_length]: the share of each source pixel in the stretch
    of source / target pixels that one of the target covers.
    """
    source, target = (jnp.asarray(side, jnp.float32)[:, None, None] for side in (source, target))
    begin = jnp.arange(target_length)[:, None] * (source / target)
    end = jnp.minimum(begin + source / target, source)
    pixel = jnp.arange(source_length)
    covered = jnp.maximum(jnp.minimum(pixel + 1, end) - jnp.maximum(pixel, begin), 0.0)
    return covered / jnp.maximum(jnp.sum(covered, axis=-1, keepdims=True), 1e-5)


@typed
def mirror_padded(
    maps: Float[Array, "b h w k"], columns: Int[Array, "b"]
) -> Float[jax.Array, "b h w k"]:
    """Each image's first `columns` mirrored left and right; what stands behind them has
    no meaning.
    """
    width = maps.shape[2]
    mirrored = (columns[:, None] - 1 - jnp.arange(width)) % width
    return jnp.take_along_axis(jnp.asarray(maps), mirrored[:, None, :, None], axis=2)
