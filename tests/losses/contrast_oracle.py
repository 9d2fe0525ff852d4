"""PPC's contrast written down a second time: float64 NumPy, straight from the equations,
one pixel after the other. Pixels are numbered through the batch.
"""

import numpy as np

EPSILON = 1e-5


def scores(corrected, background=0.2):
    result = np.full(corrected.shape, float(background))
    for image in range(corrected.shape[0]):
        for label in range(1, corrected.shape[-1]):
            positive = np.maximum(np.float64(corrected[image, :, :, label]), 0.0)
            low, high = positive.min(), positive.max()
            result[image, :, :, label] = (positive - low - EPSILON) / (high - low + EPSILON)
    return result


def classes(scores, labels):
    result = np.zeros(scores.shape[:3], np.int32)
    for place in np.ndindex(result.shape):
        best = scores[(*place, 0)]
        for label in np.flatnonzero(labels[place[0]]) + 1:
            if scores[(*place, label)] > best:
                best, result[place] = scores[(*place, label)], label
    return result


def prototypes(features, scores, top_indices=None):
    """Where several equal the last that has a place, their mean stands for each."""
    b, h, w, m = scores.shape
    count = max(1, h * w // 8)
    g, s = np.float64(features).reshape(b * h * w, -1), np.float64(scores).reshape(-1, m)
    result = np.zeros((m, g.shape[1]))
    for label in range(m):
        if top_indices is not None:
            places = top_indices[label]
            pixels, weights = g[places], s[places, label]
        else:
            last = np.sort(s[:, label])[-count]
            above, equal = s[:, label] > last, s[:, label] == last
            left = count - above.sum()
            pixels = np.concatenate([g[above], [g[equal].mean(0)] * left])
            weights = np.concatenate([s[above, label], [last] * left])
        direction = (weights[:, None] * pixels).sum(0) / weights.sum()
        result[label] = direction / max(np.linalg.norm(direction), 1e-12)
    return result


def _similarities(features, prototypes, temperature):
    """S, and the way back from a gradient to S to one to the features."""
    g = np.float64(features).reshape(-1, features.shape[-1])
    length = np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12)
    unit, prototypes = g / length, np.float64(prototypes)

    def back(slope):
        to_unit = slope @ prototypes / temperature
        along = (to_unit * unit).sum(1, keepdims=True)
        return ((to_unit - along * unit) / length).reshape(features.shape)

    return unit @ prototypes.T / temperature, back


def contrast(features, prototypes, classes, temperature=0.1):
    """Value and gradient to the features."""
    similarities, back = _similarities(features, prototypes, temperature)
    slope, value = np.zeros(similarities.shape), 0.0
    for pixel, label in enumerate(classes.ravel()):
        shares = np.exp(similarities[pixel])
        value += np.log(shares.sum()) - similarities[pixel, label]
        slope[pixel] = shares / shares.sum()
        slope[pixel, label] -= 1.0
    return value / classes.size, back(slope / classes.size)


def intra_view(features, prototypes, classes, drawn, temperature=0.1):
    """Value and gradient to the features."""
    similarities, back = _similarities(features, prototypes, temperature)
    slope, value = np.zeros(similarities.shape), 0.0
    occurring = np.unique(classes)
    for label in occurring:
        members = np.flatnonzero(classes.ravel() == label)
        half = len(members) // 2
        rising = members[np.argsort(similarities[members, label], kind="stable")]
        end = int(0.6 * len(members))
        hard = list(rising[:end][end - half :]) if half else []
        for pixel in [*(pixel for pixel in members if drawn.ravel()[pixel]), *hard]:
            weight = 1.0 / (2 * half * len(occurring))
            ranked = np.argsort(-similarities[pixel], kind="stable")[3:13]
            terms = np.exp(similarities[pixel, [label, *ranked]])
            value += weight * (np.log(terms.sum()) - similarities[pixel, label])
            for other, share in zip([label, *ranked], terms / terms.sum(), strict=True):
                slope[pixel, other] += weight * share
            slope[pixel, label] -= weight
    return value, back(slope)
