"""The final network's probabilities of photographs, from its logits at several
scales.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import numpy as np

from hfpl_jax.inference.multi_scale import MultiScale, Photograph, make_logits_function
from hfpl_jax.inference.predictor import Predictor
from hfpl_jax.methods.merge import upsample
from hfpl_jax.runtime.sharding import Mesh
from hfpl_jax.shapes import Array, Float, typed


def segmentation_predictor(
    network: nn.Module, variables: dict, settings: MultiScale, mesh: Mesh
) -> Predictor:
    """The logits of every class, the background first."""
    logits = make_logits_function(network.apply)
    return Predictor(logits, variables, settings, network.backbone.output_stride, mesh)


@typed
def merged_probabilities(
    logits: Sequence[Float[Array, "_ _ k"]],
    scaled_sizes: Sequence[tuple[int, int]],
    size: tuple[int, int],
) -> Float[Array, "h w k"]:
    """softmax of the mean of the logits of all scales, each enlarged to the
    photograph's size; of NumPy's arrays or JAX's.

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
    shifted = mean.__array_namespace__().exp(mean - mean.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def probabilities_of(
    photograph: Photograph,
    logits: Sequence[np.ndarray],
    scaled_sizes: Sequence[tuple[int, int]],
    *,
    views: int,
    classes: np.ndarray | None = None,
    crf: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """float32 [h, w, k] at the photograph's size: background first, then the classes.

    Args:
      photograph: whose pixels the CRF reads.
      logits: one map a scale, summed over `views` mirror images.
      scaled_sizes: height and width of the image each was made from.
      views: how many were summed.
      classes: the foreground classes that it can have; None for all.
      crf: `crf(pixels, probabilities)` sharpens them; None for none.
    """
    if classes is not None:
        channels = np.concatenate([[0], np.asarray(classes, np.int64) + 1])
        logits = [of_scale[..., channels] for of_scale in logits]
    size = photograph.height, photograph.width
    probabilities = merged_probabilities([each / views for each in logits], scaled_sizes, size)
    if crf is None or probabilities.shape[-1] == 1:
        return probabilities
    return crf(photograph.pixels(), probabilities)
