"""What the tests of the dense CRF compute on; `experiments.parity.brute_crf` is what
they compare with.
"""

import dataclasses

import numpy as np

from experiments.parity.brute_crf import dense_crf, gaussian
from hfpl_jax.refine import PUBLISHED_CRF

__all__ = ["PUBLISHED_FINAL_CRF", "dense_crf", "example", "gaussian"]

PUBLISHED_FINAL_CRF = dataclasses.replace(PUBLISHED_CRF, iterations=1, bilateral_sxy=32.0)
"""Of the final network's label maps."""


def example(height, width, labels, seed=0):
    """A photo with an edge, texture and noise, and scores that follow the edge
    roughly.
    """
    rng = np.random.default_rng(seed)
    side = np.arange(width) > width * (0.4 + 0.2 * rng.random((height, 1)))
    image = np.where(side[..., None], (200, 120, 60), (40, 90, 160)) + rng.normal(
        0, 12, (height, width, 3)
    )
    logits = rng.normal(0, 1, (height, width, labels))
    logits[..., 0] += side
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return np.clip(image, 0, 255).astype(np.uint8), probabilities.astype(np.float32)
