"""Mean field of the dense CRF on permutohedral lattices: the fast algorithm for CPUs,
one image at a time.
"""

import functools

import numpy as np

from hfpl_jax.refine.crf_settings import LEAST_PROBABILITY, CrfSettings
from hfpl_jax.refine.permutohedral import PermutohedralLattice


def _place(height: int, width: int, deviation: float) -> np.ndarray:
    """[n, 2] float32 (x, y) in units of the deviation. The order of the features
    matters to the approximation.
    """
    rows, columns = np.indices((height, width), dtype=np.float32)
    return np.stack([columns, rows], axis=-1).reshape(-1, 2) / np.float32(deviation)


@functools.lru_cache(maxsize=4)
def _smoothness(height: int, width: int, deviation: float) -> PermutohedralLattice:
    """Depends on the size alone, and photos of a data set share a few sizes."""
    return PermutohedralLattice(_place(height, width, deviation))


def _appearance(image: np.ndarray, settings: CrfSettings) -> PermutohedralLattice:
    height, width = image.shape[:2]
    place = _place(height, width, settings.bilateral_sxy)
    colour = image.reshape(-1, 3) / np.float32(settings.bilateral_srgb)
    return PermutohedralLattice(np.concatenate([place, colour], axis=1))


def lattice_mean_field(
    image: np.ndarray, probabilities: np.ndarray, *, settings: CrfSettings
) -> np.ndarray:
    """`dense_crf` with algorithm "lattice", without its checks; float32 of the shape of
    `probabilities`.

    Source: Krähenbühl and Koltun, NIPS 2011, algorithm 1 and section 3.2; to rounding
    what pydensecrf computes.
    """
    *_, h, w, c = probabilities.shape
    lattices = (
        (np.float32(settings.gaussian_weight), _smoothness(h, w, settings.gaussian_sxy)),
        (np.float32(settings.bilateral_weight), _appearance(image, settings)),
    )
    # Labels come first here: NumPy's reductions over few adjacent values are ten times
    # slower.
    negative_unary = np.log(np.clip(probabilities, LEAST_PROBABILITY, 1.0))
    negative_unary = np.ascontiguousarray(negative_unary.reshape(-1, h * w, c).swapaxes(1, 2))
    # A softmax is of differences, and the filters are linear: what is added to the first
    # label's logit may be taken from all others, so one label less is filtered.
    start = negative_unary[:, 1:] - negative_unary[:, :1]
    logits = start
    for _ in range(settings.iterations):
        first, others = _softmax(logits)
        values = (others - first).reshape(-1, h * w)
        logits = start.copy()
        for weight, lattice in lattices:
            logits += weight * lattice.filter(values).reshape(start.shape)
    marginals = np.concatenate(_softmax(logits), axis=1)
    return np.ascontiguousarray(marginals.swapaxes(1, 2)).reshape(probabilities.shape)


def _softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[maps, 1, n] and [maps, c - 1, n], of labels whose first has the logit 0 and the
    others these.
    """
    largest = np.maximum(logits.max(axis=1, keepdims=True), 0.0)
    first, others = np.exp(-largest), np.exp(logits - largest)
    total = first + others.sum(axis=1, keepdims=True)
    return first / total, others / total
