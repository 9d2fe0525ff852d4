"""The score of the background beside the CAMs of a photograph's classes: what a CRF or a
random walk starts from.
"""

import numpy as np

from hfpl_jax.shapes import Float, typed


@typed
def background_score(
    cams: Float[np.ndarray, "h w n"], alpha: float | int
) -> Float[np.ndarray, "h w k"]:
    """The maps of a photograph's classes with their background in front, [h, w, 1 + n].

      background = (1 - max_n max(cam_n, 0))^alpha

    Args:
      cams: normalised to [0, 1]; a class without evidence, -1 everywhere, counts as 0.
      alpha: the larger, the less background.

    Source: PSA, infer_cls.py; HFPL takes alpha 1 and 24 for the affinity labels and 6
    before the random walk.
    """
    cams = np.maximum(cams, 0.0).astype(np.float32)
    strongest = cams.max(axis=-1, keepdims=True, initial=0.0)
    return np.concatenate([(1.0 - strongest) ** np.float32(alpha), cams], axis=-1)


@typed
def threshold_background(
    cams: Float[np.ndarray, "h w n"], threshold: float
) -> Float[np.ndarray, "h w k"]:
    """The maps of a photograph's classes behind a background that is `threshold`
    everywhere (at least 0.001), [h, w, 1 + n].

    The strongest channel of a pixel is then its pseudo-label of that threshold.
    """
    background = np.full((*cams.shape[:2], 1), max(threshold, 1e-3), np.float32)
    return np.concatenate([background, np.maximum(cams, 0.0).astype(np.float32)], axis=-1)


LEAST_BACKGROUND = 0.1


@typed
def raised_background(
    cams: Float[np.ndarray, "h w n"], threshold: float
) -> Float[np.ndarray, "h w k"]:
    """`threshold_background` for what takes means of scores: with a threshold t below u =
    0.1 the background is u, and CAMs are stretched so that it still means t.

      u cam / t                      up to t, 0 where t = 0
      u + (1 - u) (cam - t) / (1 - t)  above

    The labels are the same. Behind a background near 0 a mean would be an object as soon
    as the least of any object comes into it, which is soon everywhere.
    """
    if threshold >= LEAST_BACKGROUND:
        return threshold_background(cams, threshold)
    least, cams = LEAST_BACKGROUND, np.maximum(cams, 0.0).astype(np.float32)
    below = np.minimum(least * cams / threshold, least) if threshold else np.zeros_like(cams)
    above = least + (1.0 - least) * (cams - threshold) / (1.0 - threshold)
    stretched = np.where(cams > np.float32(threshold), above, below).astype(np.float32)
    background = np.full((*cams.shape[:2], 1), least, np.float32)
    return np.concatenate([background, stretched], axis=-1)
