"""What both sides of a piece compute on: functions of sizes alone, in NumPy, channels
last.
"""

import io

import numpy as np
from PIL import Image

from hfpl_jax.data.example import Example, encode_mask
from hfpl_jax.data.scene_painter import paint_scene

CLASSES = 20


def photograph(index: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A painted scene, uint8 [h, w, 3], and its mask of labels 0 ... 8, uint8 [h,
    w].
    """
    image, mask, _ = paint_scene(np.random.default_rng(index), height, width)
    return image, mask


def example(index: int, height: int, width: int) -> Example:
    """The same as a JPEG with its labels."""
    image, mask = photograph(index, height, width)
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=90)
    labels = np.setdiff1d(mask, [0, 255]).astype(np.int64) - 1
    return Example(
        f"{index:06d}.jpg",
        data.getvalue(),
        labels if len(labels) else np.array([0]),
        encode_mask(mask),
        height,
        width,
    )


def smooth(random: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    """Maps in [0, 1] that change slowly, float32 [h, w, count]."""
    coarse = random.random((count, 6, 8)).astype(np.float32)
    maps = [
        np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BILINEAR))
        for each in coarse
    ]
    return np.clip(np.stack(maps, axis=-1), 0.0, 1.0)


def score_maps(height: int, width: int, count: int) -> np.ndarray:
    """Scores of a photograph's background and classes, float32 [h, w, count], each in
    [0, 1].
    """
    return smooth(np.random.default_rng(1), height, width, count)


def colours_and_scores(
    batch: int, height: int, width: int, channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Photographs' colours in [0, 1] at the maps' size, and scores."""
    images = np.stack(
        [photograph(index, 6 * height, 6 * width)[0][::6, ::6] for index in range(batch)]
    )
    random = np.random.default_rng(2)
    return images.astype(np.float32) / 255.0, np.stack(
        [smooth(random, height, width, channels) for _ in range(batch)]
    )


def logits_and_labels(
    batch: int, height: int, width: int, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CAM logits [b, h, w, c], image labels [b, c] with a class at least, and ten drawn
    pixels of each class [b, c, 10].
    """
    random = np.random.default_rng(3)
    logits = 4.0 * random.standard_normal((batch, height, width, classes), np.float32)
    labels = (random.random((batch, classes)) < 0.1).astype(np.float32)
    labels[:, 0] = 1.0
    return logits, labels, random.integers(0, height * width, (batch, classes, 10)).astype(np.int32)


def sipe_maps(
    batch: int, height: int, width: int, channels: int, classes: int
) -> tuple[np.ndarray, ...]:
    """Features [b, h, w, k] of at least 0 that are alike within a region, hierarchical
    ones [b, h, w, 768], CAM logits [b, h, w, c] with a region for each class, and image
    labels [b, c].
    """
    random = np.random.default_rng(7)
    masks = [photograph(20 + index, 8 * height, 8 * width)[1] for index in range(batch)]
    regions = np.stack([mask[4::8, 4::8] % 9 for mask in masks])
    compared, features = (
        random.standard_normal((9, count), np.float32)[regions]
        + 0.3 * random.standard_normal((*regions.shape, count), np.float32)
        for count in (channels, 768)
    )
    logits, labels, _ = logits_and_labels(batch, height, width, classes)
    logits += 12.0 * (regions[..., None] == np.arange(classes))
    return np.maximum(compared, 0.0), features, logits.astype(np.float32), labels


def contrast_views(
    batch: int, side1: int, side2: int, channels: int, classes: int
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Of two views, the first of which is larger: projected features [b, s, s, k] and
    corrected maps [b, s, s, c + 1]; image labels [b, c], and for every pixel of the
    second one's size a number by which half of a class is drawn, [2, b, s2, s2]. The
    maps are rough, so that rounding decides no order.
    """
    random = np.random.default_rng(8)
    features, corrected = (
        tuple(
            np.stack([smooth(random, side, side, count) for _ in range(batch)])
            + rough * random.random((batch, side, side, count), np.float32)
            for side in (side1, side2)
        )
        for count, rough in ((channels, 1.0), (classes + 1, 0.1))
    )
    labels = (random.random((batch, classes)) < 0.1).astype(np.float32)
    labels[:, 0] = 1.0
    return features, corrected, labels, random.random((2, batch, side2, side2), np.float32)


def walk_features(height: int, width: int, channels: int) -> np.ndarray:
    """Features of an affinity network, float32 [h, w, k]: alike within a region,
    different across."""
    _, mask = photograph(4, 8 * height, 8 * width)
    random = np.random.default_rng(5)
    centres = random.standard_normal((9, channels)).astype(np.float32)
    return 0.3 * centres[mask[4::8, 4::8] % 9] + 0.03 * random.standard_normal(
        (height, width, channels), np.float32
    )


def crops(batch: int, crop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A training batch: uint8 [b, crop, crop, 3], labels [b, 20], and drawn pixels as
    random numbers in [0, 1), [b, 20, 10].
    """
    images = np.stack([photograph(10 + index, crop, crop)[0] for index in range(batch)])
    random = np.random.default_rng(6)
    labels = np.zeros((batch, CLASSES), np.float32)
    labels[np.arange(batch), np.arange(batch)] = labels[:, 7] = 1.0
    return images, labels, random.random((batch, CLASSES, 10))


def peaks(count: int, height: int, width: int) -> np.ndarray:
    """(class, row, column) of cells of a map, int [count, 3]."""
    random = np.random.default_rng(9)
    return np.stack([random.integers(0, most, count) for most in (CLASSES, height, width)], axis=1)
