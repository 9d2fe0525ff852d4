"""The losses written down a second time: float64 NumPy, straight from the equations,
one pixel after the other.
"""

import numpy as np


def feature_similarity(images, scores, *, mu=2.5, sigma=5.0, window=None):
    """Value and gradient to the scores. For each pixel i, all pixels j, with the
    logarithm and the tanh of the paper.
    """
    images = np.clip(np.asarray(images, np.float64), 0.0, 1.0)
    scores = np.asarray(scores, np.float64)
    b, h, w, k = scores.shape
    rows, columns = (
        grid.ravel() for grid in np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    )
    value, gradient = 0.0, np.zeros((b, h * w, k))
    for x, y, slope in zip(
        images.reshape(b, h * w, 3), scores.reshape(b, h * w, k), gradient, strict=True
    ):
        for i in range(h * w):
            d = np.abs(x[i] - x).mean(-1)
            g = np.tanh(mu + np.log((d + 1e-5) / (1.0 - d + 1e-5)))
            squared_distance = (rows[i] - rows) ** 2 + (columns[i] - columns) ** 2
            near = (
                1.0 / (h * w)
                if sigma is None
                else np.exp(-squared_distance / (2.0 * sigma**2)) / (2.0 * np.pi * sigma**2)
            )
            weight = near * g
            if window is not None:
                weight = weight * (
                    (np.abs(rows[i] - rows) <= window) & (np.abs(columns[i] - columns) <= window)
                )
            difference = y[i] - y
            value += np.sum(weight * 0.5 * np.sum(difference**2, axis=-1))
            slope[i] += np.sum(weight[:, None] * difference, axis=0)
            slope -= weight[:, None] * difference
    pixels = b * h * w
    return -value / pixels, -gradient.reshape(b, h, w, k) / pixels


def soft_margin(logits, labels):
    """-y log sigma(z) - (1 - y) log sigma(-z), with -log sigma(z) = log(1 + exp(-z))
    computed without overflow.
    """
    logits = np.asarray(logits, np.float64)
    return labels * np.logaddexp(0.0, -logits) + (1.0 - labels) * np.logaddexp(0.0, logits)


def sigmoid(logits):
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, np.float64)))


def gap(logits, labels):
    """Value and gradient."""
    b, h, w, c = logits.shape
    pooled = np.asarray(logits, np.float64).mean((1, 2))
    slope = (sigmoid(pooled) - labels) / (b * c * h * w)
    return soft_margin(pooled, labels).mean(), np.broadcast_to(
        slope[:, None, None, :], logits.shape
    )


def sampling_distribution(logits):
    """[b, c, n], each row sums to one."""
    b, h, w, c = logits.shape
    weights = np.zeros((b, c, h * w))
    for image in range(b):
        for label in range(c):
            weights[image, label] = sigmoid(logits[image, :, :, label]).ravel() + 1e-5
    return weights / weights.sum(-1, keepdims=True)


def sampled(logits, labels, pixels):
    """Value and gradient of the importance sampling loss at given pixels [b, c, s]."""
    b, _, w, c = logits.shape
    draws = pixels.shape[-1]
    value, gradient = 0.0, np.zeros(logits.shape)
    for image in range(b):
        for label in range(c):
            for pixel in pixels[image, label]:
                place = image, pixel // w, pixel % w, label
                value += soft_margin(logits[place], labels[image, label])
                gradient[place] += sigmoid(logits[place]) - labels[image, label]
    return value / (b * c * draws), gradient / (b * c * draws)


def expected_sampled(logits, labels):
    """Value and gradient of the importance sampling loss with infinitely many draws;
    the distribution is held constant.
    """
    b, h, w, c = logits.shape
    probability = sampling_distribution(logits).transpose(0, 2, 1).reshape(b, h, w, c)
    labels = np.asarray(labels, np.float64)[:, None, None, :]
    value = np.sum(probability * soft_margin(logits, labels)) / (b * c)
    return value, probability * (sigmoid(logits) - labels) / (b * c)


def max_normalize(logits, peak_floor=0.0):
    result = np.zeros(logits.shape)
    for image in range(logits.shape[0]):
        for label in range(logits.shape[-1]):
            positive = np.maximum(np.asarray(logits[image, :, :, label], np.float64), 0.0)
            low, high = positive.min(), positive.max()
            result[image, :, :, label] = np.maximum(positive - low - 1e-5, 0.0) / (
                max(high - low, peak_floor) + 1e-5
            )
    return result


def similarity_scores(logits, labels, peak_floor=0.0):
    foreground = (
        max_normalize(logits, peak_floor) * np.asarray(labels, np.float64)[:, None, None, :]
    )
    return np.concatenate([1.0 - foreground.max(-1, keepdims=True), foreground], axis=-1)


def equivariant_cross(first, second, corrected_first, corrected_second):
    """Value, and gradients to the two corrected maps."""
    value, slopes = 0.0, []
    for teacher, corrected in ((second, corrected_first), (first, corrected_second)):
        teacher, corrected = (np.array(array, np.float64) for array in (teacher, corrected))
        for scores in teacher.reshape(-1, teacher.shape[-1]):
            scores[1:] = [score if score == max(scores[1:]) else 0.0 for score in scores[1:]]
        slope = np.zeros(corrected.shape)
        images, size = corrected.shape[0], corrected[0].size
        count = max(1, int(size * 0.2))
        for y, r, d in zip(teacher, corrected, slope, strict=True):
            difference = (r - y).ravel()
            hardest = np.argsort(-np.abs(difference), kind="stable")[:count]
            value += np.abs(difference[hardest]).sum() / (count * images)
            d.ravel()[hardest] = np.sign(difference[hardest]) / (count * images)
        slopes.append(slope)
    return value, *slopes


def min_pooling(corrected, labels):
    """Value and gradient."""
    b, h, w, _ = corrected.shape
    count = max(1, h * w // 4)
    value, slope = 0.0, np.zeros(corrected.shape)
    for image in range(b):
        masked = np.asarray(corrected[image], np.float64) * labels[image]
        strongest = masked.max(-1)
        for pixel in np.argsort(strongest.ravel(), kind="stable")[:count]:
            place = image, pixel // w, pixel % w
            if strongest[place[1:]] > 0:
                label = masked[place[1:]].argmax()
                value += strongest[place[1:]] / (b * count)
                slope[(*place, label)] = labels[image, label] / (b * count)
    return value, slope


def structure_seeds(features, scores):
    """The class [b, h, w] of each pixel: pair by pair."""
    b, h, w, n = scores.shape
    seeds = np.zeros((b, h * w), np.int64)
    for image in range(b):
        x = np.asarray(features[image], np.float64).reshape(h * w, -1)
        s = np.asarray(scores[image], np.float64).reshape(h * w, n)
        unit = np.stack([each / (np.sqrt(each @ each) + 1e-5) for each in x])
        for i in range(h * w):
            resemblance = np.maximum(unit @ unit[i], 0.0)
            overlaps = []
            for c in range(n):
                inter = (resemblance * s[:, c]).sum()
                union = resemblance.sum() + s[:, c].sum() - inter
                overlaps.append(inter / union * (1.0 if c else 0.5) if union else 0.0)
            seeds[image, i] = np.argmax(overlaps)
    return seeds.reshape(b, h, w)


def attention(logits):
    """Background first."""
    positive = np.maximum(np.asarray(logits, np.float64), 0.0)
    foreground = positive / (positive.max((1, 2), keepdims=True) + 1e-5)
    return np.concatenate([1.0 - foreground.max(-1, keepdims=True), foreground], axis=-1)


def image_specific_cam(features, seeds):
    """Of the seeds [b, h, w, n] of 0 and 1: cosines with the mean feature of each class."""
    features = np.asarray(features, np.float64)
    maps = np.zeros(seeds.shape)
    for image, row, column, c in np.ndindex(seeds.shape):
        mean = (features[image] * seeds[image, ..., c, None]).sum((0, 1))
        here = features[image, row, column]
        norms = np.sqrt(mean @ mean) * np.sqrt(here @ here)
        maps[image, row, column, c] = max(mean @ here / norms, 0.0) if norms else 0.0
    return maps


def general_specific(scores, maps):
    return np.abs(scores - maps / (maps.max((1, 2), keepdims=True) + 1e-5)).mean()


def slope_of(function, at, step=1e-6):
    """Central differences of a function in float64, element by element."""
    at, slope = np.array(at, np.float64), np.zeros(np.shape(at))
    for place in np.ndindex(at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[place] += step
        behind[place] -= step
        slope[place] = (function(ahead) - function(behind)) / (2.0 * step)
    return slope


def assert_close(actual, expected, relative=1e-5):
    """Within `relative` of the largest expected magnitude: single elements of a
    gradient may cancel to zero.
    """
    expected = np.asarray(expected, np.float64)
    np.testing.assert_allclose(
        np.asarray(actual, np.float64),
        expected,
        rtol=relative,
        atol=relative * max(np.abs(expected).max(), 1e-30),
    )
