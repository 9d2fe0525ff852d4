"""Pillow's bicubic resampling of 8-bit images inside a compiled program, to the bit:
what data/transforms/resample.py does on the host.

One axis after the other, in integers with 22 bits behind the point, and rounded to 8
bits after each. A pixel is a sum over those within 2 pixels of its place, pixels of its
own size where the image shrinks.
"""

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.transforms import resample
from hfpl_jax.shapes import Array, UInt8, typed

_BITS = 22
_REACH = 2.0
_COLUMNS_FIRST, _ROWS_FIRST = (2, 1), (1, 2)


def axes_of(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """In which order Pillow takes the axes of images of `size` (height, width).

    Since version 13 that depends on both sizes. What a pixel is rounded to depends on
    it, so Pillow is asked: noise shows it.
    """
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected = resample.resize(noise, *target)
    rows_first = resize(noise[None], target, axes=_ROWS_FIRST)[0]
    return _ROWS_FIRST if np.array_equal(rows_first, expected) else _COLUMNS_FIRST


@typed
def resize(
    images: UInt8[Array, "b h w 3"], size: tuple[int, int], *, axes: tuple[int, int]
) -> UInt8[jax.Array, "b H W 3"]:
    """Images at `size` (height, width), one of `axes` after the other."""
    images = jnp.asarray(images)
    for axis in axes:
        images = _resize_axis(images, axis, size[axis - 1])
    return images


def _resize_axis(images: jax.Array, axis: int, target: int) -> jax.Array:
    if images.shape[axis] == target:
        return images

    def with_tap(total, tap):
        place, weight = tap
        read = jnp.take(images, place, axis=axis, mode="clip").astype(jnp.int32)
        return total + read * weight.reshape((-1,) + (1,) * (3 - axis)), None

    shape = (*images.shape[:axis], target, *images.shape[axis + 1 :])
    half = jnp.full(shape, 1 << (_BITS - 1), jnp.int32)
    total, _ = jax.lax.scan(with_tap, half, _taps(images.shape[axis], target))
    return jnp.clip(total >> _BITS, 0, 255).astype(jnp.uint8)


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """int32 [taps, target] each: the pixels that an output reads, and their weights in
    units of 2^-22.
    """
    scale = source / target
    wide = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale
    first = np.maximum((centre - _REACH * wide + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + _REACH * wide + 0.5).astype(np.int64), source)
    place = first + np.arange((end - first).max())[:, None]
    weight = np.where(place < end, _cubic(np.abs((place - centre + 0.5) * (1.0 / wide))), 0.0)
    weight = weight / weight.sum(axis=0) * (1 << _BITS)
    weight = np.trunc(weight + np.copysign(0.5, weight)).astype(np.int32)
    return np.minimum(place, source - 1).astype(np.int32), weight


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2, of distances of at least 0."""
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return np.where(x < 1.0, near, np.where(x < _REACH, far, 0.0))
