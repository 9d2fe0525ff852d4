"""Bilinear resizing, corners aligned, of maps that fill only a part of their array,
each its own."""

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
) -> Float[Array, "b H W k"]:
    """Each image's corner of `maps`, `source` (rows, columns), resized into the corner
    `target` of a map of `size`.

    Behind `target` the last row and column of the image repeat; what lies behind
    `source` is never read. With None for both this is `resize_bilinear(...,
    align_corners=True)`. Computed in float32 at full precision, returned in the dtype
    of `maps`.
    """
    if source is None or target is None:
        return resize_bilinear(maps, size, align_corners=True)
    rows = _interpolation_matrices(source[:, 0], target[:, 0], maps.shape[1], size[0])
    columns = _interpolation_matrices(source[:, 1], target[:, 1], maps.shape[2], size[1])
    resized = jnp.einsum("bHh,bhwk->bHwk", rows, maps.astype(jnp.float32), precision="highest")
    return jnp.einsum("bWw,bHwk->bHWk", columns, resized, precision="highest").astype(maps.dtype)


def _interpolation_matrices(source, target, source_length, target_length):
    """[b, target_length, source_length]: position i reads coordinate i (source - 1) /
    (target - 1), each image its own.

    The coordinate is split in integers, so it is as exact as the host's float64 one.
    """
    source, target = source[:, None], target[:, None]
    numerator = jnp.minimum(jnp.arange(target_length), target - 1) * (source - 1)
    denominator = jnp.maximum(target - 1, 1)
    lower, fraction = numerator // denominator, (numerator % denominator) / denominator
    position = jnp.arange(source_length)
    upper = jnp.minimum(lower + 1, source - 1)
    weight = fraction[..., None].astype(jnp.float32)
    return (position == lower[..., None]) * (1.0 - weight) + (position == upper[..., None]) * weight
