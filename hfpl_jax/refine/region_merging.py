"""Superpixels grow into regions: those neighbours that are most alike, in content and
along their common border, are joined first, all over the photograph.

Source: Chaibou et al., "Adaptive strategy for superpixel-based region-growing image
segmentation", Journal of Electronic Imaging 26(6), 2017. Its body was not within reach:
descriptors, constants and the criterion are our reading.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hfpl_jax.shapes import Float, Int, typed

TAU = 0.15
"""Deviation of the similarity, in units of the features: of Lab / 100."""
FIRST, GROWTH, LAST = 2.0, 1.05, 0.9
"""The criterion at first, the factor by which it falls before anything was merged, and
where it ends: scores lie from 0 to 2.
"""
FEWEST = 0.01
"""Regions, as a share of all, of which so many have to merge, or the criterion falls."""
ONE_SIDED = 0.9
"""A score counts so much where a region is the best of another that prefers a third."""


class Borders(NamedTuple):
    """Pairs of neighbours, int [p, 2] with the lower number first, ascending; and of each
    the edges between a pixel of the one and a pixel of the other, int [p].
    """

    pairs: np.ndarray
    lengths: np.ndarray


@typed
def borders_of(regions: Int[np.ndarray, "h w"]) -> Borders:
    """Of regions 0, 1, ...; pixels are neighbours above, below and at the sides."""
    count = int(regions.max()) + 1
    first = np.concatenate([regions[1:].ravel(), regions[:, 1:].ravel()]).astype(np.int64)
    second = np.concatenate([regions[:-1].ravel(), regions[:, :-1].ravel()])
    apart = first != second
    first, second = first[apart], second[apart]
    numbers = np.minimum(first, second) * count + np.maximum(first, second)
    found, lengths = np.unique(numbers, return_counts=True)
    return Borders(np.stack([found // count, found % count], axis=1), lengths)


@typed
def means_of(
    features: Float[np.ndarray, "h w c"], regions: Int[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "n c"], Int[np.ndarray, "n"]]:
    """Of regions 0 ... n - 1 the mean feature, float64, and the number of pixels."""
    numbers = regions.ravel()
    sizes = np.bincount(numbers)
    sums = [np.bincount(numbers, each.ravel()) for each in np.moveaxis(features, -1, 0)]
    return np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None], sizes


def content(means: np.ndarray, pairs: np.ndarray, tau: float = TAU) -> np.ndarray:
    """exp(-|m_a - m_b|^2 / (2 tau^2)) of pairs [p, 2] of regions with means [n, c]."""
    apart = np.square(means[pairs[:, 0]] - means[pairs[:, 1]]).sum(axis=1)
    return np.exp(-apart / (2.0 * tau**2))


@typed
def scores_of(
    similarity: Float[np.ndarray, "p"],
    border: Float[np.ndarray, "p"],
    borders: Borders,
    count: int,
) -> Float[np.ndarray, "p"]:
    """similarity + min(1, sqrt(L (P_a + P_b) / (P_a P_b))) border, where L is the length of
    the common border and P that of all borders of a region with others.

    Args:
      similarity: of the contents.
      border: how alike the superpixels on both sides of the common border are.
      borders: of the same pairs.
      count: of regions.
    """
    pairs, lengths = borders
    first, second = pairs.T
    around = np.bincount(first, lengths, count) + np.bincount(second, lengths, count)
    share = lengths * (1.0 / around[first] + 1.0 / around[second])
    return similarity + np.minimum(1.0, np.sqrt(share)) * border


class Round(NamedTuple):
    """What became of the regions: the region of each superpixel, the criterion and its
    factor for the next round, and how many regions were merged into others.
    """

    region: np.ndarray
    threshold: float
    factor: float
    merged: int


@typed
def growth(
    features: Float[np.ndarray, "h w c"],
    superpixels: Int[np.ndarray, "h w"],
    *,
    tau: float = TAU,
    last: float = LAST,
) -> Iterator[Round]:
    """Round by round, how superpixels become regions, which are numbered by their lowest
    superpixel; nothing where there is but one.

    Every region names its best neighbour. Scores (`scores_of`) of two that name each
    other stand; one that is not returned counts 0.9. Those of at least T merge, the
    highest first, of equal ones the lowest pair first, and each region once a round; the
    lower number stays. With R regions and M that would go:

      T <- T / a                                  where M < R / 100: nothing merges
      a <- max(1 + M / R, 1.01), then T <- a T    otherwise

    from T = 2 and a = 1.05 until T is at most `last`: the best are merged first, wherever
    they are. The similarity of two regions is that of their mean features (`content`);
    along a border the superpixels' own counts, which never changes.

    Args:
      features: colours, for one.
      superpixels: 0, 1, ..., none left out.
      tau: of `content`.
      last: the lower, the larger the regions.
    """
    means, sizes = means_of(features, superpixels)
    finest = borders_of(superpixels)
    alike = content(means, finest.pairs, tau)
    region, threshold, factor = np.arange(len(sizes)), FIRST, GROWTH
    wishes = _wishes(region, finest, alike, means, tau)
    while threshold > last and len(wishes.pairs):
        count = len(sizes)
        into = _matching(wishes, threshold, count)
        merged = int(np.count_nonzero(into != np.arange(count)))
        if merged < FEWEST * count:
            threshold /= factor
            yield Round(region, threshold, factor, 0)
            continue
        factor = max(1.0 + merged / count, 1.01)
        threshold *= factor
        means, sizes, numbers = _merged(means, sizes, into)
        region = numbers[region]
        wishes = _wishes(region, finest, alike, means, tau)
        yield Round(region, threshold, factor, merged)


def grown_regions(
    features: np.ndarray, superpixels: np.ndarray, *, tau: float = TAU, last: float = LAST
) -> np.ndarray:
    """The region [n] of each superpixel at the end of `growth`."""
    region = np.arange(int(superpixels.max()) + 1)
    for each in growth(features, superpixels, tau=tau, last=last):
        region = each.region
    return region


def _joined(
    region: np.ndarray, finest: Borders, alike: np.ndarray, count: int
) -> tuple[Borders, np.ndarray]:
    """The borders between regions, and how alike the superpixels at them are: the mean
    over their edges.
    """
    pairs = np.sort(region[finest.pairs], axis=1)
    apart = pairs[:, 0] != pairs[:, 1]
    numbers = pairs[apart, 0] * count + pairs[apart, 1]
    found, place = np.unique(numbers, return_inverse=True)
    lengths = finest.lengths[apart]
    total = np.bincount(place, lengths, len(found))
    border = np.bincount(place, lengths * alike[apart], len(found)) / total
    return Borders(np.stack([found // count, found % count], axis=1), total), border


class _Wishes(NamedTuple):
    """Pairs of which a region names the other as its best, the strongest first."""

    pairs: np.ndarray
    strength: np.ndarray


def _wishes(
    region: np.ndarray, finest: Borders, alike: np.ndarray, means: np.ndarray, tau: float
) -> _Wishes:
    """Of regions with these means, into which superpixels with the borders `finest` were
    put.
    """
    count = len(means)
    borders, border = _joined(region, finest, alike, count)
    pairs = borders.pairs
    scores = scores_of(content(means, pairs, tau), border, borders, count)
    ends, others = pairs.T.ravel(), pairs[:, ::-1].T.ravel()
    place = np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort([others, -scores[place], ends])
    _, first = np.unique(ends[order], return_index=True)
    named = np.bincount(place[order[first]], minlength=len(pairs))
    strength = scores * np.where(named > 1, 1.0, ONE_SIDED)
    order = np.lexsort([pairs[:, 1], pairs[:, 0], -strength])
    order = order[named[order] > 0]
    return _Wishes(pairs[order], strength[order])


def _matching(wishes: _Wishes, threshold: float, count: int) -> np.ndarray:
    """Into which region each of `count` goes: the pairs of at least this strength, the
    strongest first, of which none has a region of a stronger one.
    """
    into, pairs = np.arange(count), wishes.pairs[wishes.strength >= threshold]
    while len(pairs):
        # A pair is taken that comes first of all those of both of its regions.
        rank = np.full(count, len(pairs))
        np.minimum.at(rank, pairs.ravel(), np.repeat(np.arange(len(pairs)), 2))
        taken = (rank[pairs] == np.arange(len(pairs))[:, None]).all(axis=1)
        into[pairs[taken, 1]] = pairs[taken, 0]
        used = np.zeros(count, bool)
        used[pairs[taken]] = True
        pairs = pairs[~used[pairs].any(axis=1)]
    return into


def _merged(
    means: np.ndarray, sizes: np.ndarray, into: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and sizes of the regions that stay, and `into` in their new numbers."""
    _, numbers = np.unique(into, return_inverse=True)
    total = np.bincount(numbers, sizes)
    sums = [np.bincount(numbers, each) for each in (means * sizes[:, None]).T]
    return np.stack(sums, axis=1) / total[:, None], total, numbers
