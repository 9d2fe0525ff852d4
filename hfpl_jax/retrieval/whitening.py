"""Principal components of descriptors, each divided by its deviation: what all
photographs share no longer makes them alike. PWA's last step, fitted on the training
split alone.
"""

import dataclasses
import math

import numpy as np
import scipy

from hfpl_jax.errors import InputError
from hfpl_jax.retrieval.descriptors import unit_length
from hfpl_jax.shapes import Float, typed

DIMENSIONS = 512
"""At most. PWA has 4,096, learnt on thousands of photographs; a component that few
photographs decide on is noise, which whitening makes as long as all others.
"""
_PHOTOGRAPHS_A_DIMENSION = 4


@dataclasses.dataclass(frozen=True)
class Whitening:
    """What makes unlike descriptors orthogonal.

    Attributes:
      mean: [d], of the descriptors it was fitted on.
      components: [p, d], orthonormal rows, the one of the largest deviation first;
        their signs have no meaning.
      deviations: [p], of the descriptors along each component, all above 0.
    """

    mean: np.ndarray
    components: np.ndarray
    deviations: np.ndarray

    def apply(self, descriptors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n p"]:
        """Whitened rows of length 1: their products are cosines."""
        return unit_length(((descriptors - self.mean) @ self.components.T) / self.deviations)


def kept_dimensions(photographs: int) -> int:
    """How many components as many photographs can tell: one for every four of them, and
    `DIMENSIONS` at most. With photographs - 1, the most there are, every two of the
    photographs would be equally unlike; experiments/notes/neighbours.md has the recall
    of numbers in between.
    """
    return min(DIMENSIONS, max(1, photographs // _PHOTOGRAPHS_A_DIMENSION))


@typed
def fit_whitening(descriptors: Float[np.ndarray, "n d"], dimensions: int) -> Whitening:
    """By a singular value decomposition, in the precision of `descriptors`.

      X - mean = U S V^T;   components V^T;   deviations S / sqrt(n - 1)

    Fewer than `dimensions` components where the photographs differ in fewer.

    Raises:
      InputError: there are no two photographs that differ.
    """
    mean = descriptors.mean(axis=0)
    centred = (descriptors - mean).T  # tall, in which order SciPy need not copy it
    components, values, _ = scipy.linalg.svd(centred, full_matrices=False, overwrite_a=True)
    # Beside the length of all descriptors: what rounding alone leaves is no difference.
    length = np.sqrt(np.sum(np.square(mean)) * len(descriptors) + np.sum(np.square(values)))
    least = 10 * np.finfo(descriptors.dtype).eps * length
    kept = min(dimensions, int(np.sum(values > least)))
    if not kept:
        raise InputError(
            f"Neighbours cannot be told: the {len(descriptors)} photographs of the training split "
            "have the same features. Give more photographs, or do without the neighbours."
        )
    deviations = values[:kept] / math.sqrt(len(descriptors) - 1)
    return Whitening(mean, np.ascontiguousarray(components.T[:kept]), deviations)
