"""A final network's probabilities as CAMs, which any refiner can start from."""

from collections.abc import Callable, Sequence

import numpy as np

from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.multi_scale import Photograph
from hfpl_jax.inference.segmentation import probabilities_of
from hfpl_jax.runtime.records import Record
from hfpl_jax.shapes import Float, typed

OWN_BACKGROUND = 0.5
"""The threshold at which the label map of `ahead_of_background` is the network's own."""


@typed
def ahead_of_background(
    probabilities: Float[np.ndarray, "h w k"],
) -> Float[np.ndarray, "h w n"]:
    """p_c / (p_0 + max_d p_d) of each class c, [h, w, k - 1], with the background's p_0 in
    front: a map in [0, 1] that is above 1/2 where a class is likelier than the
    background, and the classes in their order.
    """
    background, classes = probabilities[..., :1], probabilities[..., 1:]
    strongest = classes.max(axis=-1, keepdims=True, initial=0.0)
    return classes / np.maximum(background + strongest, np.finfo(np.float32).tiny)


def seen_cams(
    index: int,
    photograph: Photograph,
    logits: Sequence[np.ndarray],
    scaled_sizes: Sequence[tuple[int, int]],
    *,
    views: int,
    predicted: bool,
    crf: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
) -> Record:
    """The record of a photograph: `ahead_of_background` among its own classes alone, and
    as the probability of each class its highest anywhere, among all of them.

    Args:
      predicted: whether its classes are those of a probability above 1/2 somewhere, and
        always the likeliest, in place of the given labels.
      others: as those of `probabilities_of`.
    """
    of_all = probabilities_of(photograph, logits, scaled_sizes, views=views)
    highest = of_all[..., 1:].max(axis=(0, 1))
    classes = photograph.labels
    if predicted:
        classes = np.flatnonzero((highest > OWN_BACKGROUND) | (highest == highest.max()))
    shown = of_all[..., np.concatenate([[0], classes + 1]).astype(np.int64)]
    shown /= np.maximum(shown.sum(axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    if crf is not None and len(classes):
        shown = crf(photograph.pixels(), shown)
    return CamRecord(
        index,
        photograph.file_name,
        photograph.labels,
        classes,
        ahead_of_background(shown),
        highest.astype(np.float32),
    ).encode()
