"""Bilinear resizing one axis after the other, equal to PyTorch's to float rounding.

Resizing an [h, w] map M to [H, W] is R_h M R_w^T, where each row of R holds the two
interpolation weights of one output position. An axis that grows is a product with that
small matrix, and so is its gradient; for one that shrinks the matrix would be nearly
all zeros, and the two pixels are read. All depends on static sizes alone, and the host
can use the same functions on NumPy arrays.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.shapes import Array, Float, typed


def taps(
    source: int, target: int, align_corners: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1-D linear interpolation without antialiasing: output i is (1 - fraction_i)
    x[lower_i] + fraction_i x[upper_i].

    Output position i reads source coordinate
      align_corners:  i (source - 1) / (target - 1)            (end samples coincide)
      otherwise:      (i + 1/2) source / target - 1/2, clamped (pixel areas coincide)

    Returns:
      lower, upper (int64) and fraction (float64), each [target].
    """
    position = np.arange(target, dtype=np.float64)
    if align_corners:
        coordinate = position * ((source - 1) / (target - 1) if target > 1 else 0.0)
    else:
        coordinate = np.clip((position + 0.5) * source / target - 0.5, 0.0, source - 1)
    lower = np.minimum(np.floor(coordinate).astype(np.int64), source - 1)
    return lower, np.minimum(lower + 1, source - 1), coordinate - lower


@functools.lru_cache(maxsize=128)
def interpolation_matrix(source: int, target: int, align_corners: bool) -> np.ndarray:
    """The [target, source] float32 matrix of that interpolation (`taps`)."""
    lower, upper, fraction = taps(source, target, align_corners)
    matrix = np.zeros((target, source), np.float64)
    np.add.at(matrix, (np.arange(target), lower), 1.0 - fraction)
    np.add.at(matrix, (np.arange(target), upper), fraction)
    matrix = matrix.astype(np.float32)
    matrix.setflags(write=False)  # the cache hands out one array to everybody
    return matrix


@typed
def resize_bilinear(
    maps: Float[Array, "b h w k"], size: tuple[int, ...], *, align_corners: bool
) -> Float[jax.Array, "b H W k"]:
    """Resizes channels-last maps to `size` = (height, width), as
    torch.nn.functional.interpolate(mode="bilinear") does.

    The work is done in float32 at full precision and returned in the dtype of `maps`.
    """
    # The order that has less to do: rows are taken away first and added last.
    axes = (1, 2) if size[0] < maps.shape[1] else (2, 1)
    resized = jnp.asarray(maps, jnp.float32)
    for axis in axes:
        resized = _resize_axis(resized, axis, size[axis - 1], align_corners)
    return resized.astype(maps.dtype)


def _resize_axis(maps: jax.Array, axis: int, target: int, align_corners: bool) -> jax.Array:
    source = maps.shape[axis]
    if target == source:
        return maps
    if target < source:
        lower, upper, fraction = taps(source, target, align_corners)
        first, second = (
            weight.astype(np.float32).reshape((-1,) + (1,) * (3 - axis))
            for weight in (1.0 - fraction, fraction)
        )
        # No pixel is read twice as `lower`, nor as `upper`, so that the gradient need
        # not add up what lands on one place.
        read = functools.partial(
            jnp.take, maps, axis=axis, unique_indices=True, indices_are_sorted=True, mode="clip"
        )
        return read(lower) * first + read(upper) * second
    matrix = interpolation_matrix(source, target, align_corners)
    if axis == 2:
        return jnp.einsum("Ww,bhwk->bhWk", matrix, maps, precision="highest")
    b, h, w, k = maps.shape  # one product an image, of rows that lie together in memory
    rows = jnp.matmul(
        jnp.broadcast_to(matrix, (b, target, h)), maps.reshape(b, h, w * k), precision="highest"
    )
    return rows.reshape(b, target, w, k)
