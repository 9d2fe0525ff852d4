"""From CAMs to the label of every pixel, and how sure it is."""

import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE, label_map
from hfpl_jax.shapes import Float, Int, UInt8, typed


@typed
def pseudo_label(
    cams: Float[np.ndarray, "h w n"],
    classes: Int[np.ndarray, "n"],
    *,
    threshold: float,
    ignore_band: tuple[float, float] | None = None,
) -> UInt8[np.ndarray, "h w"]:
    """The strongest class where its CAM exceeds the background score, 0 elsewhere, 255
    where the band leaves it open.

    Args:
      cams: normalised CAMs in [0, 1], one map for each class of the photograph.
      classes: zero-based foreground classes of the maps, ascending; label = class + 1.
      threshold: background score t. Ties go to the background.
      ignore_band: (low, high) with low <= t <= high: a pixel whose strongest CAM is
        above low and at most high becomes 255.

    Raises:
      InputError: a band that does not hold the threshold.
    """
    labels = label_map(cams, classes, threshold=threshold)
    if ignore_band is None:
        return labels
    low, high = ignore_band
    if not low <= threshold <= high:
        raise InputError(
            f"config.refine.threshold.ignore_band = ({low}, {high}) does not hold the background "
            f"threshold {threshold}. Choose low <= threshold <= high."
        )
    strength = cams.max(axis=-1, initial=0.0)
    return np.where(
        (strength > np.float32(low)) & (strength <= np.float32(high)), np.uint8(IGNORE), labels
    )


@typed
def confidence(cams: Float[np.ndarray, "h w n"], *, threshold: float) -> UInt8[np.ndarray, "h w"]:
    """How far the strongest CAM s lies from the background score t, as a share of the
    way it could: 0 undecided, 255 certain.

    255 (s - t) / (1 - t) for foreground, 255 (t - s) / t for background (255 everywhere
    for t = 0).
    """
    strength = np.clip(cams.max(axis=-1, initial=0.0), 0.0, 1.0)
    foreground = (strength - threshold) / (1.0 - threshold)
    background = (threshold - strength) / threshold if threshold else np.ones_like(strength)
    return np.rint(255.0 * np.where(strength > threshold, foreground, background)).astype(np.uint8)


@typed
def label_map_of(
    probabilities: Float[np.ndarray, "h w k"], classes: Int[np.ndarray, "n"]
) -> UInt8[np.ndarray, "h w"]:
    """The likeliest label: channel 0 is the background, channel 1 + i the foreground
    class `classes[i]`; label = class + 1.
    """
    return np.concatenate([[0], classes + 1]).astype(np.uint8)[probabilities.argmax(axis=-1)]


@typed
def margin(probabilities: Float[np.ndarray, "h w k"]) -> UInt8[np.ndarray, "h w"]:
    """255 times the lead of the likeliest label over the next: 0 undecided, 255 certain
    (and where there is no other label).
    """
    if probabilities.shape[-1] == 1:
        return np.full(probabilities.shape[:2], 255, np.uint8)
    second, first = np.moveaxis(np.partition(probabilities, -2, axis=-1)[..., -2:], -1, 0)
    return np.rint(255.0 * np.clip(first - second, 0.0, 1.0)).astype(np.uint8)
