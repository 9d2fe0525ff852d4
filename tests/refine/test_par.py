"""Pixel-adaptive refinement against its equation in float64, at the edges of images, and
as a refiner of padded batches.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.refine.par import Par, pixel_adaptive
from hfpl_jax.refine.refiner import Padded, Photograph

refined = jax.jit(pixel_adaptive, static_argnames=("dilations", "steps"))


def kernels_by_hand(image, places):
    """The weight of each place beside a pixel, [h, w, n], and the rows and columns that
    are looked at.
    """
    height, width, _ = image.shape
    rows, columns = (
        np.clip(np.arange(side)[:, None] + np.array(shifts), 0, side - 1)
        for side, shifts in ((height, [y for y, _ in places]), (width, [x for _, x in places]))
    )
    rows, columns = rows[:, None], columns[None]
    around = image[rows, columns]  # [h, w, n, 3]
    deviation = around.std(axis=2, ddof=1, keepdims=True)
    alike = -np.square((around - image[:, :, None]) / (deviation + 1e-8) / 0.3).mean(axis=-1)
    distances = np.array([np.hypot(*place) for place in places])
    near = -np.square(distances / (distances.std(ddof=1) + 1e-8) / 0.3)
    shares = [np.exp(each - each.max(-1, keepdims=True)) for each in (alike, near)]
    alike, near = (each / each.sum(-1, keepdims=True) for each in shares)
    return alike + 0.01 * near, rows, columns


def par_by_hand(image, scores, dilations, steps):
    places = [
        (d * dy, d * dx)
        for d in dilations
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if (dy, dx) != (0, 0)
    ]
    kernels, rows, columns = kernels_by_hand(image.astype(np.float64), places)
    scores = scores.astype(np.float64)
    for _ in range(steps):
        scores = np.einsum("hwn,hwnk->hwk", kernels, scores[rows, columns])
    return scores


def drawn(height, width, labels=3, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.float32)
    return image, rng.random((height, width, labels), np.float32)


@pytest.mark.parametrize(
    ("size", "dilations", "steps"),
    [((9, 14), (1, 2, 4), 3), ((9, 14), (1, 2, 4, 8, 12, 24), 1), ((1, 7), (3,), 2)],
)
def test_the_equation(size, dilations, steps):
    image, scores = drawn(*size)
    ours = refined(image[None], scores[None], dilations=dilations, steps=steps)
    expected = par_by_hand(image, scores, dilations, steps)
    np.testing.assert_allclose(ours[0], expected, rtol=2e-5)


def test_an_image_of_one_pixel_and_one_of_one_colour():
    _, scores = drawn(1, 1)
    alone = refined(np.full((1, 1, 1, 3), 8.0, np.float32), scores[None], steps=2)
    np.testing.assert_allclose(alone[0], 1.01**2 * scores, rtol=1e-5)
    _, scores = drawn(6, 5)
    plain = np.full((6, 5, 3), 77.0, np.float32)
    ours = refined(plain[None], scores[None], dilations=(1, 3), steps=2)
    np.testing.assert_allclose(ours[0], par_by_hand(plain, scores, (1, 3), 2), rtol=1e-5)


def test_padding_is_never_read():
    sizes = np.array([[12, 9], [5, 16], [1, 1]], np.int32)
    images, scores = np.full((3, 12, 16, 3), np.nan, np.float32), np.full((3, 12, 16, 2), np.nan)
    singles = [drawn(*size, labels=2, seed=seed) for seed, size in enumerate(sizes)]
    for row, (image, maps) in enumerate(singles):
        height, width = sizes[row]
        images[row, :height, :width], scores[row, :height, :width] = image, maps
    ours = refined(images, scores.astype(np.float32), sizes, dilations=(1, 4), steps=3)
    for row, (image, maps) in enumerate(singles):
        alone = refined(image[None], maps[None], dilations=(1, 4), steps=3)
        height, width = sizes[row]
        np.testing.assert_allclose(ours[row, :height, :width], alone[0], rtol=1e-5)


def batch_of(image, cam, size, threshold=0.3):
    """Padded to `size`."""
    height, width = image.shape[:2]
    start = Par().start(Photograph(image, cam, np.array([6]), threshold), 1)
    images, scores = np.zeros((1, *size, 3), np.uint8), np.zeros((1, *size, 2), np.float32)
    images[0, :height, :width] = image
    scores[0, :height, :width] = start
    sizes, classes = np.array([[height, width]], np.int32), np.array([[6]], np.int32)
    return Padded(*map(jnp.asarray, (images, sizes, scores, classes)))


def test_masks_follow_colours_and_not_the_padding():
    """A CAM of half of a red square, and of some blue beside it, becomes the square."""
    image = np.full((47, 60, 3), (20, 30, 200), np.uint8)
    image[8:40, 12:48] = (200, 30, 20)
    image += np.random.default_rng(0).integers(0, 9, image.shape, np.uint8)
    cam = np.zeros((47, 60, 1), np.float32)
    cam[4:40, 8:30] = 0.9
    refine = jax.jit(Par(dilations=(1, 2, 4, 8), steps=20).refine)
    made = [
        [np.asarray(each[0, :47, :60]) for each in refine(batch_of(image, cam, size))]
        for size in ((47, 60), (64, 63))
    ]
    for alone, padded in zip(*made, strict=True):
        assert alone.dtype == np.uint8
        np.testing.assert_allclose(padded.astype(int), alone, atol=7 if alone.max() == 7 else 1)
        assert np.mean(alone == padded) > 0.99
    expected = np.zeros((47, 60), np.uint8)
    expected[8:40, 12:48] = 7
    assert np.mean(made[0][0] == expected) > 0.98
    before = np.where(cam[..., 0] > 0.3, 7, 0)
    assert np.mean(before == expected) < 0.85


@pytest.mark.parametrize("threshold", [0.0, 0.02])
def test_a_background_near_0_stays_background(threshold):
    """Of the scores of a square a little comes into all that lies around it."""
    image = np.full((47, 60, 3), (20, 30, 200), np.uint8)
    image[12:32, 16:40] = (200, 30, 20)
    image += np.random.default_rng(0).integers(0, 9, image.shape, np.uint8)
    cam = np.where(image[..., :1] > 100, np.float32(0.9), np.float32(0.0))
    batch = batch_of(image, cam, (47, 60), threshold)
    mask = np.asarray(jax.jit(Par(dilations=(1, 2, 4, 8)).refine)(batch).mask[0])
    assert np.mean(mask == np.where(cam[..., 0] > 0, 7, 0)) > 0.97


def test_what_the_report_says():
    assert Par().said() == "pixel-adaptive refinement, 10 steps of up to 48 pixels"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2)])
def test_the_smallest_photographs(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for score, label in ((0.9, 7), (0.1, 0)):
        cam = np.full((*size, 1), score, np.float32)
        mask, confidence = jax.jit(Par().refine)(batch_of(image, cam, size))
        np.testing.assert_array_equal(mask[0], np.full(size, label))
        lead = 255 * abs(score - 0.3) / (score + 0.3)
        np.testing.assert_allclose(confidence[0], lead, atol=0.6)
