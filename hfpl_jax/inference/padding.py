"""A few padded shapes for photographs of many sizes: each shape is one compilation."""

from collections.abc import Sequence

import numpy as np

from hfpl_jax.shapes import Int, typed

_GRAIN = 32
"""Sizes are first rounded up to this many pixels, so that thousands of sizes become at
most hundreds.
"""


@typed
def plan_shapes(sizes: Int[np.ndarray, "n 2"], count: int) -> list[tuple[int, int]]:
    """At most `count` (height, width) shapes, smallest first, such that every size fits
    one and little area is padding.

    Greedy: as long as there are too many shapes, the two whose union wastes the least
    area over their images become one.
    """
    shapes, images = np.unique(-(-sizes // _GRAIN) * _GRAIN, axis=0, return_counts=True)
    while len(shapes) > count:
        union = np.maximum(shapes[:, None], shapes[None, :]).prod(-1)
        area = shapes.prod(-1)
        waste = images[:, None] * (union - area[:, None]) + images[None, :] * (
            union - area[None, :]
        )
        np.fill_diagonal(waste, np.iinfo(waste.dtype).max)
        first, second = np.unravel_index(np.argmin(waste), waste.shape)
        shapes[first], images[first] = (
            np.maximum(shapes[first], shapes[second]),
            images[first] + images[second],
        )
        shapes, images = np.delete(shapes, second, 0), np.delete(images, second)
    return sorted(
        map(tuple, np.unique(shapes, axis=0).tolist()),
        key=lambda shape: (shape[0] * shape[1], shape),
    )


@typed
def smallest_fit(size: tuple[int, int], shapes: Sequence[tuple[int, int]]) -> int:
    """Index of the first shape that holds an image of `size`."""
    return next(
        index
        for index, (height, width) in enumerate(shapes)
        if size[0] <= height and size[1] <= width
    )


@typed
def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """round(side * scale), at least one pixel, as images are scaled for inference."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
