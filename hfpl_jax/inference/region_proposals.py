"""Regions of a photograph that may be instances, from its pseudo-label alone.

Each connected component of a class is one. So is whatever lies between it and the parts
that superpixels (SLIC) cut it into: those neighbours that are most alike in colour and
place are joined first, until the component is whole again, and each step is a region.
"""

from collections.abc import Iterator

import numpy as np
import scipy
import skimage

from hfpl_jax.masks import IGNORE
from hfpl_jax.shapes import Bool, Int, UInt8, typed

SUPERPIXELS = 60
"""Of a photograph, about."""
COMPACTNESS = 30.0
"""Of superpixels, as SLIC counts it: their outlines are smooth, or a ragged cut would be
preferred to the whole, as it holds more of the responses at contours.
"""
MOST = 100
"""Proposals of a photograph: components before parts, larger ones first."""
_EIGHT = np.ones((3, 3), int)


@typed
def own_proposals(
    mask: UInt8[np.ndarray, "h w"], image: UInt8[np.ndarray, "h w 3"]
) -> tuple[Bool[np.ndarray, "n h w"], Int[np.ndarray, "n"]]:
    """Proposals, and the class of each; no two are the same.

    Args:
      mask: 0 background, 1, 2, ... the classes, 255 of no class.
      image: the photograph.
    """
    components, classes = _components(mask)
    if not components:
        return np.zeros((0, *mask.shape), bool), np.zeros(0, np.int64)
    pieces = skimage.segmentation.slic(
        image, n_segments=SUPERPIXELS, compactness=COMPACTNESS, start_label=0
    )
    parts = [
        (part, label)
        for component, label in zip(components, classes, strict=True)
        for part in _parts(component, np.where(component, pieces, -1), image)
    ]
    parts.sort(key=lambda part: -int(part[0].sum()))
    parts = parts[: MOST - len(components)]
    regions = [*components, *(part for part, _ in parts)]
    return np.stack(regions), np.array([*classes, *(label for _, label in parts)], np.int64)


def _components(mask: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """The connected components of all classes, larger ones first, and their zero-based
    classes.
    """
    found = []
    for value in np.setdiff1d(mask, [0, IGNORE]):
        numbered, count = scipy.ndimage.label(mask == value, _EIGHT)
        areas = np.bincount(numbered.ravel(), minlength=count + 1)
        found += [(int(areas[i]), int(value), numbered, i) for i in range(1, count + 1)]
    found.sort(key=lambda one: -one[0])
    found = found[:MOST]
    components = [numbered == number for _, _, numbered, number in found]
    return components, [value - 1 for _, value, _, _ in found]


def _parts(component: np.ndarray, pieces: np.ndarray, image: np.ndarray) -> Iterator[np.ndarray]:
    """The pieces of a component and the regions of two or more that are joined on the
    way to the whole, which is not among them.

    Joined are the two neighbours for which the sum of squared distances to the mean
    colour and place grows least (Ward).

    Args:
      pieces: superpixels inside, -1 outside.
    """
    names, numbered = np.unique(pieces[component], return_inverse=True)
    if len(names) < 2:
        return
    inner = np.full(component.shape, -1)
    inner[component] = numbered
    means, sizes = _means(component, numbered, image, len(names))
    groups = {number: [number] for number in range(len(names))}
    for members in groups.values():
        yield _region(inner, members)
    edges = _neighbours(inner)
    while len(groups) > 2 and edges:
        first, second = min(edges, key=lambda pair: (_growth(means, sizes, *pair), pair))
        new = max(groups) + 1
        groups[new] = groups.pop(first) + groups.pop(second)
        sizes[new] = sizes[first] + sizes[second]
        means[new] = (sizes[first] * means[first] + sizes[second] * means[second]) / sizes[new]
        renamed = {first: new, second: new}
        edges = {(renamed.get(a, a), renamed.get(b, b)) for a, b in edges}
        edges = {(min(pair), max(pair)) for pair in edges if pair[0] != pair[1]}
        yield _region(inner, groups[new])


def _region(inner: np.ndarray, members: list[int]) -> np.ndarray:
    chosen = np.zeros(inner.max() + 2, bool)  # the last one is that of -1
    chosen[members] = True
    return chosen[inner]


def _means(
    component: np.ndarray, numbered: np.ndarray, image: np.ndarray, count: int
) -> tuple[dict[int, np.ndarray], dict[int, int]]:
    """Of each piece the mean colour (0 to 1) and place (0 to 1 on the long side), and its
    pixels.
    """
    place = np.argwhere(component) / max(component.shape)
    values = np.concatenate([image[component] / 255.0, place], axis=1)
    sizes = np.bincount(numbered, minlength=count)
    sums = np.stack([np.bincount(numbered, value, count) for value in values.T], axis=1)
    means = sums / sizes[:, None]
    return dict(enumerate(means)), dict(enumerate(sizes.tolist()))


def _growth(means: dict, sizes: dict, first: int, second: int) -> float:
    apart = means[first] - means[second]
    return sizes[first] * sizes[second] / (sizes[first] + sizes[second]) * float(apart @ apart)


def _neighbours(inner: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of pieces that touch, diagonally too, the lower number first."""
    found = set()
    for a, b in (
        (inner[1:], inner[:-1]),
        (inner[:, 1:], inner[:, :-1]),
        (inner[1:, 1:], inner[:-1, :-1]),
        (inner[1:, :-1], inner[:-1, 1:]),
    ):
        apart = (a != b) & (a >= 0) & (b >= 0)
        pairs = np.sort(np.stack([a[apart], b[apart]], axis=1), axis=1)
        found |= set(map(tuple, np.unique(pairs, axis=0).tolist()))
    return found
