"""Exact search: the cosines of all pairs by matrix products, and what is read from them.

Cosines are rounded to six decimals, so that photographs which are equally near have one
order, that of their index, whatever a matrix product rounds.
"""

from collections.abc import Iterator

import numpy as np

from hfpl_jax.shapes import Bool, Float, Int, typed

_ROWS = 256
"""Of a block: its cosines with 100,000 photographs take 100 MB."""
DECIMALS = 6


@typed
def nearest(
    vectors: Float[np.ndarray, "n d"], count: int
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Of every row the `count` others that are nearest, or all where there are fewer:
    their indices and cosines, the nearest first, of equal ones that of the lower index.

    Args:
      vectors: of length 1.
      count: k.
    """
    count = min(count, len(vectors) - 1)
    indices = np.zeros((len(vectors), count), np.int64)
    found = np.zeros((len(vectors), count), vectors.dtype)
    for start, cosines in _blocks(vectors, vectors):
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        # Those at the cut all stay in the race, however the partition ordered them.
        cut = np.partition(cosines, -max(1, count), axis=1)[:, -max(1, count)]
        for row in rows:
            among = np.flatnonzero(cosines[row] >= cut[row])
            order = among[np.argsort(-cosines[row, among], kind="stable")[:count]]
            indices[start + row], found[start + row] = order, cosines[row, order]
    return indices, found


@typed
def recall(
    indices: Int[np.ndarray, "n k"], shown: Bool[np.ndarray, "n c"], first: int
) -> tuple[float, float]:
    """The share of photographs that have a label in common with one of their `first`
    nearest, and what that share would be if these were drawn by chance, each once.

    Photographs that share no label with any other do not count; not-a-number where none
    counts.

    Args:
      indices: of `nearest`.
      shown: the classes of each photograph.
      first: how many of the nearest are looked at.
    """
    others, first = len(shown) - 1, min(first, indices.shape[1])
    hit = np.any(shown[indices[:, :first]] & shown[:, None], axis=(1, 2))
    partners = np.zeros(len(shown), np.int64)
    for start in range(0, len(shown), _ROWS):
        shared = shown[start : start + _ROWS].astype(np.float32) @ shown.T.astype(np.float32) > 0
        partners[start : start + _ROWS] = shared.sum(axis=1)
    partners -= shown.any(axis=1)  # a photograph is no partner of its own
    counted = partners > 0
    if not counted.any():
        return float("nan"), float("nan")
    missed = np.ones(len(shown))
    for drawn in range(first):
        missed *= np.maximum(others - partners - drawn, 0) / (others - drawn)
    return float(hit[counted].mean()), float(1.0 - missed[counted].mean())


@typed
def pairs_above(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"], cosine: float
) -> list[tuple[int, int, float]]:
    """(row of `first`, row of `second`, their cosine) of every pair of rows of length 1
    whose cosine is at least `cosine`, the most alike first.
    """
    pairs = [
        (start + int(row), int(column), float(cosines[row, column]))
        for start, cosines in _blocks(first, second)
        for row, column in np.argwhere(cosines >= cosine)
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))


def _blocks(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first row, cosines of some rows with all of `second`)."""
    for start in range(0, len(first), _ROWS):
        yield start, np.round(first[start : start + _ROWS] @ second.T, DECIMALS)
