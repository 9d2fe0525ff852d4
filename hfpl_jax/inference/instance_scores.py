"""Which proposed region is the instance that a peak stands on: its score, and what
becomes of regions that overlap. Nothing here knows where responses or proposals come
from.

Source: Zhou, Zhu, Ye, Qiu, Jiao, "Weakly Supervised Instance Segmentation using Class
Peak Response", CVPR 2018; peak_response_mapping.py of its program, whose constants are
the defaults.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from hfpl_jax.shapes import Bool, Float, Int, typed


@typed
def at_size(regions: Bool[np.ndarray, "n h w"], size: tuple[int, ...]) -> Bool[np.ndarray, "n H W"]:
    """Regions at another size (height, width): each pixel is the nearest one."""
    rows, columns = (
        ((np.arange(target) + 0.5) * source / target).astype(np.int64)
        for source, target in zip(regions.shape[1:], size, strict=True)
    )
    return regions[:, rows[:, None], columns]


@typed
def contours(regions: Bool[np.ndarray, "n h w"], *, reach: int = 2) -> Bool[np.ndarray, "n h w"]:
    """The pixels with both a region and what is none of it within `reach`, in a square
    window. What lies outside the photograph is neither.
    """
    grown = kept = regions
    for axis in (1, 2):
        grown = _in_windows(grown, axis, reach, np.logical_or)
        kept = _in_windows(kept, axis, reach, np.logical_and)
    return grown & ~kept


def _in_windows(regions: np.ndarray, axis: int, reach: int, combine: Callable) -> np.ndarray:
    source, found = np.moveaxis(regions, axis, 0), np.moveaxis(regions.copy(), axis, 0)
    for step in range(1, reach + 1):
        combine(found[:-step], source[step:], out=found[:-step])
        combine(found[step:], source[:-step], out=found[step:])
    return np.moveaxis(found, 0, axis)


@typed
def beyond_class(
    class_map: Float[np.ndarray, "h w"],
    size: tuple[int, int],
    *,
    factor: float = 0.95,
    eight_bits: bool = False,
) -> Bool[np.ndarray, "H W"]:
    """Where a photograph of `size` (height, width) does not look like a class: its map,
    less its minimum and enlarged bicubically, is below `factor` times its mean.

    Args:
      class_map: of logits.
      eight_bits: as released: the map is stretched to 0 ... 255 and rounded before, and
        what is enlarged is rounded too.
    """
    raised = class_map - class_map.min()
    if eight_bits:
        stretched = raised * (255.0 / (raised.max() or 1.0)) + 0.5
        image = Image.fromarray(stretched.astype(np.uint8))
    else:
        image = Image.fromarray(raised.astype(np.float32))
    enlarged = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC))
    return enlarged < factor * np.asarray(image).mean(dtype=np.float64)


@typed
def proposal_scores(
    responses: Float[np.ndarray, "p h w"],
    beyond: Bool[np.ndarray, "p h w"],
    regions: Bool[np.ndarray, "n h w"],
    *,
    alpha: float = 0.8,
    beta: float = 1e-5,
    smallest: float = 2e-5,
    largest: float = 0.85,
) -> Float[np.ndarray, "p n"]:
    """How well a region S suits the peak with the response map R; float32.

      alpha sum_S R + sum_contour(S) R - beta |S and Q|

    Args:
      responses: R, of sum 1 each.
      beyond: Q, `beyond_class` of the class of each peak.
      regions: S, the proposals.
      alpha, beta: beta is of a pixel of a photograph of 448 by 448.
      smallest, largest: shares of the photograph; a region below the first or not below
        the second has the score -inf.
    """

    def flat(maps: np.ndarray) -> np.ndarray:
        return maps.reshape(len(maps), maps.shape[1] * maps.shape[2]).astype(np.float32)

    inside, share = flat(regions), regions.mean(axis=(1, 2))
    scores = -np.float32(beta) * (flat(beyond) @ inside.T)
    inside *= np.float32(alpha)
    inside += flat(contours(regions))
    scores += flat(responses) @ inside.T
    scores[:, (share < smallest) | (share >= largest)] = -np.inf
    return scores


@typed
def best_proposals(
    scores: Float[np.ndarray, "p n"],
) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]:
    """The peaks that have a proposal, the best score first, and the first best proposal
    of each.
    """
    if not scores.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    best, score = scores.argmax(axis=1), scores.max(axis=1)
    order = np.argsort(-score, kind="stable")
    order = order[np.isfinite(score[order])]
    return order, best[order]


@typed
def survivors(regions: Bool[np.ndarray, "m h w"], *, overlap: float = 0.3) -> Int[np.ndarray, "m"]:
    """Non-maximum suppression: of each region the index of the one that takes its
    place, its own if it stays.

    A region goes where its intersection over union with an earlier one that stays is at
    least `overlap`, of whatever class both are.

    Args:
      regions: the best first.
    """
    flat = regions.reshape(len(regions), regions.shape[1] * regions.shape[2]).astype(np.float32)
    common, area = flat @ flat.T, flat.sum(axis=1)
    union = area[:, None] + area - common
    near = common >= overlap * (union + 1e-10)
    taken = np.full(len(regions), -1)
    for index in range(len(regions)):
        if taken[index] < 0:
            taken[near[index] & (taken < 0)] = index
            taken[index] = index
    return taken
