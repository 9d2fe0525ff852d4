"""The dense CRF in float64 with all pairs of pixels at once, which takes memory for a
few thousand of them: what the exact algorithm is held to.
"""

import numpy as np

from hfpl_jax.refine import PUBLISHED_CRF, CrfSettings


def softmax(logits: np.ndarray) -> np.ndarray:
    scaled = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)


def gaussian(features: np.ndarray) -> np.ndarray:
    """exp(-1/2 |f_i - f_j|^2) over the square root of its row and column sums, [n, n]
    of features [n, k].
    """
    squares = np.square(features).sum(-1)
    distances = squares[:, None] + squares - 2.0 * features @ features.T
    kernel = np.exp(-0.5 * np.maximum(distances, 0.0))
    sums = kernel.sum(axis=1)
    return kernel / np.sqrt(sums[:, None] * sums)


def dense_crf(
    image: np.ndarray, probabilities: np.ndarray, settings: CrfSettings = PUBLISHED_CRF
) -> np.ndarray:
    """Marginals [h, w, k] of uint8 [h, w, 3] and float32 [h, w, k]; see
    `hfpl_jax.refine.dense_crf`.
    """
    h, w, k = probabilities.shape
    place = np.indices((h, w)).reshape(2, -1).T.astype(np.float64)
    appearance = np.concatenate(
        [place / settings.bilateral_sxy, image.reshape(-1, 3) / settings.bilateral_srgb], axis=1
    )
    pairwise = settings.gaussian_weight * gaussian(place / settings.gaussian_sxy)
    pairwise += settings.bilateral_weight * gaussian(appearance)
    negative_unary = np.log(np.clip(probabilities.astype(np.float64), 1e-5, 1.0)).reshape(h * w, k)
    marginals = softmax(negative_unary)
    for _ in range(settings.iterations):
        marginals = softmax(negative_unary + pairwise @ marginals)
    return marginals.reshape(h, w, k)
