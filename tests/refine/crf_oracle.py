"""The dense CRF in float64 with all pairs of pixels at once."""

import dataclasses

import numpy as np

from hfpl_jax.refine import PUBLISHED_CRF

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


def softmax(logits):
    scaled = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)


def gaussian(features):
    """exp(-1/2 |f_i - f_j|^2) over the square root of its row and column sums."""
    kernel = np.exp(-0.5 * np.square(features[:, None] - features[None]).sum(-1))
    sums = kernel.sum(axis=1)
    return kernel / np.sqrt(sums[:, None] * sums)


def dense_crf(image, probabilities, settings=PUBLISHED_CRF):
    h, w, k = probabilities.shape
    place = np.indices((h, w)).reshape(2, -1).T.astype(np.float64)
    appearance = np.concatenate(
        [place / settings.bilateral_sxy, image.reshape(-1, 3) / settings.bilateral_srgb], axis=1
    )
    pairwise = settings.gaussian_weight * gaussian(
        place / settings.gaussian_sxy
    ) + settings.bilateral_weight * gaussian(appearance)
    negative_unary = np.log(np.clip(probabilities.astype(np.float64), 1e-5, 1.0)).reshape(h * w, k)
    marginals = softmax(negative_unary)
    for _ in range(settings.iterations):
        marginals = softmax(negative_unary + pairwise @ marginals)
    return marginals.reshape(h, w, k)
