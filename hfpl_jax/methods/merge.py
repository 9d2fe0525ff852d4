"""CAMs of several scales and flips become one normalised map a class, at the
photograph's size.

On the host: the maps are a few kilobytes at the network's stride, only the classes in
the image are needed, and each photograph has its own size. But for an exported program,
whose photographs have one size: the functions take NumPy's arrays and JAX's.
"""

import functools
import operator
from collections.abc import Sequence

import numpy as np

from hfpl_jax.resize import interpolation_matrix, taps
from hfpl_jax.shapes import Array, Float, typed

EPSILON = 1e-5


@functools.lru_cache(
    maxsize=128
)  # a matrix may take 200 kB, and COCO's photographs have hundreds of heights and widths
def _two_resizes(source: int, scaled: int, target: int) -> np.ndarray:
    """To the size of the scaled image with aligned corners, then to the photograph's
    size without: one matrix.
    """
    enlarging = interpolation_matrix(source, scaled, True)
    lower, upper, fraction = taps(scaled, target, False)
    first, second = (weight[:, None].astype(np.float32) for weight in (1 - fraction, fraction))
    return first * enlarging[lower] + second * enlarging[upper]


@typed
def upsample(
    logits: Float[Array, "h w n"], scaled_size: tuple[int, int], size: tuple[int, int]
) -> Float[Array, "H W n"]:
    """CAM logits of an image scaled to `scaled_size` (height, width), at the
    photograph's `size`; bilinear, float32.
    """
    rows = _two_resizes(logits.shape[0], scaled_size[0], size[0])
    columns = _two_resizes(logits.shape[1], scaled_size[1], size[1])
    return resampled(logits, rows, columns)


def resampled(maps: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    """Maps [h, w, n] by matrices [H, h] and [W, w]: float32 [H, W, n]."""
    xp = maps.__array_namespace__()
    return xp.matmul(columns, xp.tensordot(rows, maps.astype(np.float32), axes=(1, 0)))


@typed
def enlarged(
    maps: Float[Array, "h w n"], size: tuple[int, int], *, align_corners: bool = False
) -> Float[Array, "H W n"]:
    """Maps at `size`, bilinear, float32."""
    rows, columns = (
        interpolation_matrix(cells, side, align_corners)
        for cells, side in zip(maps.shape[:2], size, strict=True)
    )
    return resampled(maps, rows, columns)


@typed
def normalize_cams(summed: Float[Array, "H W n"]) -> Float[Array, "H W n"]:
    """Each class's map, summed over scales and flips, stretched to [0, 1].

      s <- max(s, 0);  m, M = min s, max s;  s <- 0 where s < m + 1e-5
      (s - m - 1e-5) / (M - m + 1e-5)

    A class without positive evidence becomes -1 everywhere, below every background
    score.

    Source: CAM inference of SEAM, used by HFPL.
    """
    xp = summed.__array_namespace__()
    summed = xp.maximum(summed, 0.0)
    low, high = summed.min(axis=(0, 1)), summed.max(axis=(0, 1))
    summed = xp.where(summed < low + EPSILON, 0.0, summed)
    return ((summed - low - EPSILON) / (high - low + EPSILON)).astype(np.float32)


@typed
def merge_cams(
    logits: Sequence[Float[Array, "_ _ n"]],
    scaled_sizes: Sequence[tuple[int, int]],
    size: tuple[int, int],
) -> Float[Array, "H W n"]:
    """Sum of the maps of all scales at the photograph's size, normalised.

    Args:
      logits: raw maps of the classes in the image, one a scale; those of mirrored
        images mirrored back (and, as resizing is linear and symmetric, maps of equal
        scale may be added up before).
      scaled_sizes: height and width of the image each map was made from.
      size: height and width of the photograph.
    """
    return normalize_cams(
        functools.reduce(
            operator.add,
            (
                upsample(maps, scaled, size)
                for maps, scaled in zip(logits, scaled_sizes, strict=True)
            ),
        )
    )
