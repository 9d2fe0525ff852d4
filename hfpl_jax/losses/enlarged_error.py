"""The squared error of maps at the size of an image, computed at their own size."""

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.precision import at_least_float32
from hfpl_jax.resize import interpolation_matrix
from hfpl_jax.shapes import Array, Float, typed


@typed
def projected(
    target: Float[np.ndarray, "H W n"], size: tuple[int, int]
) -> Float[np.ndarray, "h w n"]:
    """R_h^T T R_w, on the host: all that `enlarged_error` has to know of a target T but
    for its energy, the sum of its squares.

    Args:
      target: at the size of the image.
      size: rows and columns of the maps, `R` being the matrices of the bilinear resizing
        with aligned corners from there to the image.
    """
    rows, columns = (
        interpolation_matrix(cells, side, True)
        for cells, side in zip(size, target.shape[:2], strict=True)
    )
    return np.matmul(columns.T, np.tensordot(rows.T, target, axes=(1, 0)))


@typed
def enlarged_error(
    maps: Float[Array, "b h w c"],
    targets: Float[Array, "b h w c"],
    energy: Float[Array, "b"],
    size: tuple[int, ...],
) -> Float[jax.Array, ""]:
    """Mean over images, pixels and channels of (U - T)^2, U = R_h M R_w^T being the maps
    at the size of the image, bilinear with aligned corners.

      sum (U - T)^2 = <M, (R_h^T R_h) M (R_w^T R_w)> - 2 <M, R_h^T T R_w> + sum T^2

    Neither U nor T is made: of 448 pixels at stride 16 each has 256 times as many numbers.

    Args:
      maps: M, of a network.
      targets: `projected` T of each image.
      energy: sum T^2 of each image, over pixels and channels.
      size: rows and columns of the image.

    Source: DRS, scripts/train_refine.py (upsampling, then torch's mean squared error).
    """
    maps = at_least_float32(maps)
    b, h, w, c = maps.shape
    rows, columns = (
        interpolation_matrix(cells, side, True).astype(np.float64)
        for cells, side in zip((h, w), size, strict=True)
    )
    of_rows, of_columns = (jnp.asarray(matrix.T @ matrix, maps.dtype) for matrix in (rows, columns))
    smoothed = jnp.einsum("ih,bhwc->biwc", of_rows, maps, precision="highest")
    smoothed = jnp.einsum("jw,bhwc->bhjc", of_columns, smoothed, precision="highest")
    total = jnp.sum(maps * (smoothed - 2.0 * targets)) + jnp.sum(energy)
    return total / (b * size[0] * size[1] * c)
