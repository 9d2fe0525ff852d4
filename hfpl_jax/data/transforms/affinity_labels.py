"""CAMs to the labels affinity is learnt from: sure objects, sure background, and
everything else ignored. NumPy, for data workers.

Two dense CRFs are given the CAMs, one with a strong background (alpha 1) and one with a
weak background (alpha 24). What is an object to the first is surely one, what is
background to the second surely is none.
"""

import numpy as np

from hfpl_jax.masks import IGNORE
from hfpl_jax.shapes import Float, Int, UInt8, typed

NO_SCORE = 1e-5
"""Below it in every map, a pixel lies outside the photograph."""


@typed
def average_pool(maps: Float[np.ndarray, "H W k"], cell: int) -> Float[np.ndarray, "h w k"]:
    """Means over squares of `cell` pixels; zeros complete the squares at the bottom and
    right. [ceil(H / cell), ceil(W / cell), k].
    """
    height, width, count = maps.shape
    rows, columns = -(-height // cell), -(-width // cell)
    padded = np.pad(maps, ((0, rows * cell - height), (0, columns * cell - width), (0, 0)))
    return padded.reshape(rows, cell, columns, cell, count).mean(axis=(1, 3), dtype=np.float32)


@typed
def affinity_label_map(
    scores_low_alpha: Float[np.ndarray, "H W k"],
    scores_high_alpha: Float[np.ndarray, "H W k"],
    classes: Int[np.ndarray, "n"],
    *,
    cell: int = 8,
) -> UInt8[np.ndarray, "h w"]:
    """The label map of one crop at the feature map's resolution.

    Both maps of scores are averaged over the cells. The label is the strongest class of
    the first; 255 (ignored) where its background is strongest; 0 wherever the
    background of the second is strongest; 255 where nothing scores. The first of equals
    is the strongest.

    Args:
      scores_low_alpha, scores_high_alpha: CRF probabilities of the background and the n
        classes in the photograph; k = 1 + n; 0 in the padding of a crop.
      classes: their zero-based indices.
      cell: pixels a side of a feature's cell, the network's output stride.

    Returns:
      0 background, class + 1 for an object, 255 ignored.

    Source: PSA, VOC12AffDataset; SEAM, voc12/data.py.
    """
    low, high = average_pool(scores_low_alpha, cell), average_pool(scores_high_alpha, cell)
    label_of = np.concatenate([[IGNORE], classes + 1]).astype(np.uint8)
    labels = label_of[low.argmax(axis=-1)]
    labels[high.argmax(axis=-1) == 0] = 0
    labels[np.maximum(low.max(axis=-1), high.max(axis=-1)) < NO_SCORE] = IGNORE
    return labels
