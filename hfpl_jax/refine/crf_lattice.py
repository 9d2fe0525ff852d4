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


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis but one."""
    scaled = np.exp(logits - logits.max(axis=-2, keepdims=True))
    return scaled / scaled.sum(axis=-2, keepdims=True)


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
    negative_unary = np.ascontiguousarray(
        np.log(np.clip(probabilities, LEAST_PROBABILITY, 1.0)).reshape(-1, h * w, c).swapaxes(1, 2)
    )
    marginals = _softmax(negative_unary)
    for _ in range(settings.iterations):
        values = np.ascontiguousarray(
            marginals.reshape(-1, h * w).T
        )  # all maps at once: the lattices are the same
        logits = negative_unary.copy()
        for weight, lattice in lattices:
            logits += weight * lattice.filter(values).T.reshape(logits.shape)
        marginals = _softmax(logits)
    return np.ascontiguousarray(marginals.swapaxes(1, 2)).reshape(probabilities.shape)
