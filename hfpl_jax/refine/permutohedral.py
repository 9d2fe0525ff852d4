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


def _simplices(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The simplex each point lies in (pages 5 and 10), from features [n, d], float32.

    Returns:
      base: [d + 1, n] int64, the vertex of colour 0: coordinates are multiples of d +
        1, their sum is 0.
      rank: [d + 1, n] int8, 0 for the coordinate that exceeds the base most, d for the
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
    nearest *= d + 1
    apart = elevated - nearest
    rank = np.zeros((d + 1, n), np.int8)
    for i in range(d):
        for j in range(i + 1, d + 1):
            behind = apart[i] < apart[j]
            rank[i] += behind
            rank[j] += ~behind
    # Rounding may leave the plane; the coordinates rounded farthest go one step back.
    rank += excess
    wrapped = (d + 1) * ((rank < 0).astype(np.int8) - (rank > d))
    rank += wrapped
    nearest += wrapped

    in_order = np.empty_like(elevated)
    np.put_along_axis(
        in_order, rank.astype(np.intp), (elevated - nearest) * np.float32(1.0 / (d + 1)), axis=0
    )
    weights = np.empty_like(elevated)
    weights[0] = in_order[d] + (1.0 - in_order[0])
    for colour in range(1, d + 1):
        weights[colour] = in_order[d - colour] - in_order[d - colour + 1]
    return nearest.astype(np.int64), rank, weights


def _strides(base: np.ndarray) -> np.ndarray:
    """[d + 1] int64: base @ strides is another number for every vertex and neighbour.
    The last coordinate follows from the others.
    """
    d = len(base) - 1
    margin = 2 * (
        d + 1
    )  # a vertex of the simplex is at most d away from the base, its neighbour d further
    extents = [int(row.max()) - int(row.min()) + 2 * margin for row in base[:d]]
    strides, cells = [], 1
    for extent in extents:
        strides.append(cells)
        cells *= extent
    if cells >= MOST_CELLS:
        raise InputError(
            f"A dense CRF kernel is too narrow for this image: its lattice spans {cells:.1e} "
            f"cells, {MOST_CELLS:.1e} can be numbered. "
            "Raise the kernel's sxy (pixels) or srgb (grey levels of 0 ... 255) in CrfSettings."
        )
    return np.array([*strides, 0], np.int64)


class PermutohedralLattice:
    """The normalised filter of one set of points.

    Between construction and use lie n (d + 1) weights (`_slice` [n, m], its transpose
    `_splat`) and d + 1 matrices `_blurs` [m, m], [1 2 1] / 2 along one axis each, where
    m counts the lattice vertices that points touch; others count as 0.
    """

    def __init__(self, features: np.ndarray):
        """features: [n, d] float32, in units of the Gaussian's standard deviation.

        Raises:
          InputError: the features span more lattice cells than int64 can number.
        """
        n, d = features.shape
        base, rank, weights = _simplices(features)
        strides = _strides(base)

        # The vertex of colour r adds r to the d + 1 - r first-ranked coordinates and r
        # - (d + 1) to the others (page 5): from one colour to the next every coordinate
        # gains 1, and the one of rank d - r + 1 falls by d + 1.
        step = np.empty((d + 1, n), np.int64)
        np.put_along_axis(
            step, rank.astype(np.intp), np.broadcast_to(strides[:, None], (d + 1, n)), axis=0
        )
        codes = np.empty((d + 1, n), np.int64)
        codes[0] = strides @ base
        for colour in range(1, d + 1):
            codes[colour] = codes[colour - 1] + strides.sum() - (d + 1) * step[d - colour + 1]
        # Twice as fast as the inverse that unique can return.
        vertices = np.unique(codes)
        index = np.searchsorted(vertices, codes.T).astype(np.int32)
        m = len(vertices)
        row_starts = np.arange(0, n * (d + 1) + 1, d + 1, dtype=np.int32)
        self._slice = sparse.csr_array(
            (weights.T.reshape(-1), index.reshape(-1), row_starts), (n, m)
        )
        self._splat = self._slice.T

        self._blurs = []
        for axis in range(d + 1):
            # The neighbour along an axis is d less on it and 1 more on all others; both
            # lists are sorted, so the search is local.
            wanted = vertices + (strides.sum() - (d + 1) * strides[axis])
            position = np.minimum(np.searchsorted(vertices, wanted), m - 1)
            found = np.flatnonzero(vertices[position] == wanted)
            halves = np.full(len(found), 0.5, np.float32)
            neighbour = sparse.coo_array(
                (halves, (found.astype(np.int32), position[found].astype(np.int32))), (m, m)
            ).tocsr()
            self._blurs.append(
                sparse.eye_array(m, dtype=np.float32, format="csr")
                + neighbour
                + neighbour.T.tocsr()
            )

        # The normalisation becomes part of the weights, which the transposed matrix
        # shares.
        sums = self.filter(np.ones((n, 1), np.float32))
        self._slice.data.reshape(n, d + 1)[...] /= np.sqrt(sums)

    def filter(self, values: np.ndarray) -> np.ndarray:
        """The filtered values [n, k], float32."""
        on_vertices = self._splat @ values
        for blur in self._blurs:
            on_vertices = blur @ on_vertices
        return self._slice @ on_vertices
