"""Permutohedral lattice: a normalised Gaussian filter over n points with d features in
O(n d^2) instead of O(n^2), on the host.

    out_i = sum_j k_ij / sqrt(s_i s_j) in_j
    k_ij = exp(-1/2 |f_i - f_j|^2) approximately,   s_i = sum_j k_ij

Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice",
Eurographics 2010 (pages below are its). Features are lifted onto the plane sum = 0 of d
+ 1 dimensions and cut into simplices of equal shape. Each point splats its value onto
the d + 1 vertices of its simplex with barycentric weights, the vertices are blurred
with [1 2 1] / 2 along each of the d + 1 axes, and the points slice the result back. All
three are sparse matrices: the filter is S B_d ... B_0 S^T.

The lattice, its scale and the order of its axes are those of the reference program of
Krähenbühl and Koltun (NIPS 2011), which pydensecrf wraps: the approximation is the
same, so is the result to float32 rounding. (A constant factor of the kernel cancels in
the normalisation.)
"""

import numpy as np
import scipy.sparse as sparse

from hfpl_jax.errors import InputError

MOST_CELLS = 2**62
"""A vertex is identified by one int64, so the bounding box must hold fewer cells than
that.
"""

MATRIX_FROM = 4
"""So many values of a point are filtered together: SciPy multiplies one vector up to
four times as fast as a matrix of two or three columns.
"""


def _simplices(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The simplex each point lies in (pages 5 and 10), from features [n, d], float32.

    Returns:
      base: [d + 1, n] int64, the vertex of colour 0 divided by d + 1: its coordinates
        are multiples of that, their sum is 0.
      rank: [d + 1, n] int64, 0 for the coordinate that exceeds the base most, d for the
        one that exceeds it least.
      weights: [d + 1, n] float32, barycentric weight of the vertex of each colour.
    """
    n, d = features.shape
    elevated = np.empty((d + 1, n), np.float32)
    below = np.zeros(n, np.float32)
    for i in range(d, 0, -1):
        # The blur's standard deviation is sqrt(2/3) (d + 1) (page 6): the scale that
        # makes the kernel's variance 1.
        scaled = features[:, i - 1] * np.float32(
            np.float32(np.sqrt(2.0 / 3.0) * (d + 1)) / np.sqrt(i * (i + 1))
        )
        elevated[i] = below - np.float32(i) * scaled
        below += scaled
    elevated[0] = below

    nearest = np.rint(elevated * np.float32(1.0 / (d + 1)))
    excess = nearest.sum(axis=0).astype(np.int8)
    apart = elevated - nearest * (d + 1)
    rank = np.zeros((d + 1, n), np.int8)
    for i in range(d):
        for j in range(i + 1, d + 1):
            behind = apart[i] < apart[j]
            rank[i] += behind
            rank[j] += ~behind
    # Rounding may leave the plane; the coordinates rounded farthest go one step back.
    rank += excess
    wrapped = (rank < 0).astype(np.int8) - (rank > d)
    rank += wrapped * np.int8(d + 1)
    nearest += wrapped

    places = rank.astype(np.intp)
    in_order = np.empty_like(elevated)
    apart = (elevated - nearest * (d + 1)) * np.float32(1.0 / (d + 1))
    np.put_along_axis(in_order, places, apart, axis=0)
    weights = np.empty_like(elevated)
    weights[0] = in_order[d] + (1.0 - in_order[0])
    for colour in range(1, d + 1):
        weights[colour] = in_order[d - colour] - in_order[d - colour + 1]
    return nearest.astype(np.int64), places, weights


def _strides(base: np.ndarray) -> tuple[np.ndarray, int]:
    """[d + 1] int64 and the number of cells: colour + base @ strides, from 0 to the number
    of cells, is another number for every vertex and neighbour.
    The last coordinate follows from the others.
    """
    d = len(base) - 1
    strides, cells = [], d + 1
    for row in base[:d]:
        strides.append(cells)
        # A vertex of the simplex is at most 1 below the base, its neighbour 1 further.
        cells *= int(row.max()) - int(row.min()) + 4
    if cells >= MOST_CELLS:
        raise InputError(
            f"A dense CRF kernel is too narrow for this image: its lattice spans {cells:.1e} "
            f"cells, {MOST_CELLS:.1e} can be numbered. "
            "Raise the kernel's sxy (pixels) or srgb (grey levels of 0 ... 255) in CrfSettings."
        )
    return np.array([*strides, 0], np.int64), cells


def _numbered(codes: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The different codes [m], ascending, and which of them each is, int32. Codes lie from 0
    to `cells`.
    """
    bits = codes.size.bit_length()
    if cells.bit_length() + bits < 64:
        # Sorting codes that carry their place is several times faster than argsort.
        ordered = np.sort((codes.reshape(-1) << bits) | np.arange(codes.size))
        places = ordered & ((1 << bits) - 1)
        ordered >>= bits
    else:
        places = np.argsort(codes, axis=None)
        ordered = codes.reshape(-1)[places]
    first = np.ones(codes.size, bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    index = np.empty(codes.size, np.int32)
    index[places] = np.cumsum(first, dtype=np.int32) - np.int32(1)
    return ordered[first], index.reshape(codes.shape)


class PermutohedralLattice:
    """The normalised filter of one set of points.

    Between construction and use lie n (d + 1) weights (`_slice` [n, m + 1], its transpose
    `_splat`) and the d + 1 matrices `_beside` [m + 1, m + 1], whose sum with the identity
    is [1 2 1] / 2 along one axis each, where m counts the lattice vertices that points
    touch; others count as 0, as does the one behind them.
    """

    def __init__(self, features: np.ndarray):
        """features: [n, d] float32, in units of the Gaussian's standard deviation.

        Raises:
          InputError: the features span more lattice cells than int64 can number.
        """
        n, d = features.shape
        base, rank, weights = _simplices(features)
        strides, cells = _strides(base)

        # The vertex of colour r adds r to the d + 1 - r first-ranked coordinates and r
        # - (d + 1) to the others (page 5): from one colour to the next every coordinate
        # gains 1, and the one of rank d - r + 1 falls by d + 1.
        step = np.empty((d + 1, n), np.int64)
        np.put_along_axis(step, rank, np.broadcast_to(strides[:, None], (d + 1, n)), axis=0)
        codes = np.empty((n, d + 1), np.int64)
        lowest = base.min(axis=1) - 2
        codes[:, 0] = strides @ base - strides @ lowest
        for colour in range(1, d + 1):
            codes[:, colour] = codes[:, colour - 1] + 1 - step[d - colour + 1]
        vertices, index = _numbered(codes, cells)
        m = len(vertices)
        row_starts = np.arange(0, n * (d + 1) + 1, d + 1, dtype=np.int32)
        self._slice = sparse.csr_array(
            (weights.T.reshape(-1), index.reshape(-1), row_starts), (n, m + 1)
        )
        self._splat = self._slice.T

        # The neighbour along an axis is d less on it and 1 more on all others: of the next
        # colour, behind the last comes the first.
        last = vertices % (d + 1) == d
        halves = np.full(2 * (m + 1), 0.5, np.float32)
        row_starts = np.arange(0, 2 * (m + 1) + 1, 2, dtype=np.int32)
        self._beside = []
        for stride in strides:
            wanted = vertices + np.where(last, strides.sum() - d - stride, 1 - stride)
            # Both are nearly sorted, so the search is local.
            position = np.minimum(np.searchsorted(vertices, wanted), m - 1)
            found = np.flatnonzero(vertices[position] == wanted)
            neighbours = np.full((m + 1, 2), m, np.int32)
            neighbours[found, 0] = position[found]
            neighbours[position[found], 1] = found
            self._beside.append(
                sparse.csr_array((halves, neighbours.reshape(-1), row_starts), (m + 1, m + 1))
            )

        # The normalisation becomes part of the weights, which the transposed matrix
        # shares.
        sums = self.filter(np.ones((1, n), np.float32))
        self._slice.data.reshape(n, d + 1)[...] /= np.sqrt(sums.T)

    def filter(self, values: np.ndarray) -> np.ndarray:
        """The filtered values [k, n], float32."""
        if len(values) < MATRIX_FROM:
            return np.stack([self._filtered(each) for each in values])
        return self._filtered(np.ascontiguousarray(values.T)).T

    def _filtered(self, values: np.ndarray) -> np.ndarray:
        """Of [n] or [n, k]."""
        on_vertices = self._splat @ values
        for beside in self._beside:
            on_vertices += beside @ on_vertices
        return self._slice @ on_vertices
