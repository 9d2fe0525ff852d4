"""Which classes a photograph without image labels shows: those whose pooled probability
exceeds a cut, the one with the best F1 on photographs with labels.
"""

import numpy as np

from hfpl_jax.metrics.threshold_sweep import middle_of_best
from hfpl_jax.shapes import Float, Int, typed

CUTS = tuple(i / 100 for i in range(100))
"""The cuts tried, all of [0, 1): 0.00, 0.01, ..., 0.99."""


@typed
def cut_counts(
    probabilities: Float[np.ndarray, "c"], labels: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "2 m"]:
    """The histogram of one photograph; add those of all, then call `best_cut`.

    Args:
      probabilities: of every class.
      labels: zero-based classes of the photograph.

    Returns:
      int64 classes [0 absent or 1 there, number of cuts exceeded (0 ... 100)].
    """
    exceeded = np.searchsorted(np.asarray(CUTS, np.float32), probabilities.astype(np.float32))
    there = np.zeros(len(probabilities), np.int64)
    there[labels] = 1
    counts = np.zeros((2, len(CUTS) + 1), np.int64)
    np.add.at(counts, (there, exceeded), 1)
    return counts


@typed
def best_cut(counts: Int[np.ndarray, "2 m"]) -> tuple[float, float]:
    """The cut with the best F1 over all pairs of a photograph and a class, and that F1.

      F1 = 2 TP / (2 TP + FP + FN)

    Of several in succession it is the middle one, see `best_threshold`. Without any
    label every F1 is 0, and the cut 0.5.
    """
    false, true = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1][:, 1:]  # exceed cut number t
    wrong = false + counts[1].sum() - true
    scores = 2 * true / np.maximum(2 * true + wrong, 1)
    best = middle_of_best(scores)
    return CUTS[best], float(scores[best])
