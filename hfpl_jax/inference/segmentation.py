"""From the final network's logits at several scales to a label map."""

from collections.abc import Sequence

import numpy as np

from hfpl_jax.methods.merge import upsample
from hfpl_jax.shapes import Float, typed


@typed
def merged_probabilities(
    logits: Sequence[Float[np.ndarray, "_ _ k"]],
    scaled_sizes: Sequence[tuple[int, int]],
    size: tuple[int, int],
) -> Float[np.ndarray, "h w k"]:
    """softmax of the mean of the logits of all scales, each enlarged to the
    photograph's size.

    Args:
      logits: the mean over mirror images, one a scale.
      scaled_sizes: height and width of the image each was made from.
      size: height and width of the photograph.

    Source: the final stage's inference in the published program: the mean of logits,
    then softmax.
    """
    mean = sum(
        upsample(maps, scaled, size) for maps, scaled in zip(logits, scaled_sizes, strict=True)
    ) / len(logits)
    shifted = np.exp(mean - mean.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
