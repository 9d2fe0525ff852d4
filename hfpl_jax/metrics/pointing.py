"""Pointing accuracy: how many of the peaks lie on a thing of their class.

    accuracy of a class = its peaks inside a true instance of it / its peaks

over the whole dataset; a crowd of the class is such an instance. Zhang et al.
("Top-down Neural Attention by Excitation Backprop", ECCV 2016) take one point a class
that is known to be there, and forgive 15 pixels. Here every peak is to lie on a thing,
those of classes that are not there too, and photographs may be small: nothing is
forgiven.
"""

from collections.abc import Sequence

import numpy as np

from hfpl_jax.instance import Instance, decode_rle
from hfpl_jax.shapes import Float, Int, typed


@typed
def pointing_counts(
    true: Sequence[Instance], found: Sequence[Instance], *, num_classes: int
) -> Int[np.ndarray, "c 2"]:
    """Of one photograph, [foreground class, (peaks on a true instance, peaks)]; add
    those of all, then call `pointing_accuracy`.

    Args:
      true: instances of the photograph.
      found: instances; those without a peak are left out.
      num_classes: the foreground classes.
    """
    counts = np.zeros((num_classes, 2), np.int64)
    for label in {one.label for one in found}:
        here = [decode_rle(one.segmentation) for one in true if one.label == label]
        for one in found:
            if one.label == label and one.peak is not None:
                counts[label] += (any(region[one.peak] for region in here), 1)
    return counts


@typed
def pointing_accuracy(counts: Int[np.ndarray, "c 2"]) -> Float[np.ndarray, "c"]:
    """Of each class, in [0, 1]; nan for one without peaks."""
    inside, peaks = counts.astype(np.float64).T
    return np.divide(inside, peaks, out=np.full_like(inside, np.nan), where=peaks > 0)
