"""Affinities of patches against their equations in float64, and as a refiner of padded
batches.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalize
from hfpl_jax.refine.patch_affinity import PatchAffinity, patch_affinity, spread
from hfpl_jax.refine.refiner import Padded, Photograph

affinities = jax.jit(patch_affinity, static_argnames=("power", "steps"))


def by_hand(features, power, steps):
    """In float64, of one photograph's features [n, k]."""
    features = features.astype(np.float64)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    kernel = np.maximum(unit @ unit.T, 0.0) ** power
    np.fill_diagonal(kernel, 1.0)
    scale = np.ones(len(kernel))
    for _ in range(steps):
        scale = np.sqrt(scale / (kernel @ scale))
    return scale[:, None] * kernel * scale


@pytest.mark.parametrize(("power", "steps"), [(3.0, 20), (1.5, 2), (8.0, 1)])
def test_the_equation(power, steps):
    features = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)
    ours = affinities(features, power=power, steps=steps)[0]
    np.testing.assert_allclose(ours, by_hand(features.reshape(20, 6), power, steps), atol=2e-6)
    np.testing.assert_allclose(ours, ours.T, atol=1e-7)


@pytest.mark.parametrize("bias", [0.0, 2.0])
def test_rows_and_columns_sum_to_1(bias):
    """Of features that have much in common, too; and no matter how long they are."""
    rng = np.random.default_rng(1)
    features = (bias + rng.normal(size=(2, 6, 7, 8))) * rng.uniform(0.1, 9.0, (2, 6, 7, 1))
    found = affinities(features.astype(np.float32), power=3.0)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    assert (found >= 0.0).all()


def test_a_patch_without_a_feature_keeps_its_cam():
    features = np.random.default_rng(2).normal(size=(1, 2, 3, 4)).astype(np.float32)
    features[0, 1, 1] = 0.0
    found = affinities(features, power=3.0)
    assert np.isfinite(found).all()
    cams = np.random.default_rng(3).random((1, 2, 3, 2), np.float32)
    spreaded = spread(cams, found, times=3)
    np.testing.assert_allclose(spreaded[0, 1, 1], cams[0, 1, 1], rtol=1e-5)


@pytest.mark.parametrize("times", [1, 3])
def test_cams_become_a_power_times_cams(times):
    rng = np.random.default_rng(4)
    features = rng.normal(size=(1, 3, 4, 5)).astype(np.float32)
    cams = rng.random((1, 3, 4, 2), np.float32)
    ours = spread(cams, affinities(features, power=2.0), times=times)
    power = np.linalg.matrix_power(by_hand(features.reshape(12, 5), 2.0, 20), times)
    expected = (power @ cams.reshape(12, 2)).reshape(3, 4, 2)
    np.testing.assert_allclose(ours[0], expected, rtol=1e-4)


def cells_of_4(pixels, sizes):
    """The mean colour of each cell, normalised, and where it lies left or right."""
    b, height, width, _ = pixels.shape
    there = (np.arange(height)[:, None] < sizes[:, :1, None]) & (
        np.arange(width) < sizes[:, 1:, None]
    )
    colours = jnp.where(there[..., None], pixels * IMAGENET_STD + IMAGENET_MEAN - 0.5, 0.0)
    return colours.reshape(b, height // 4, 4, width // 4, 4, 3).mean(axis=(2, 4))


def batch_of(image, cam, size, refiner, classes=(6,), threshold=0.3):
    """Padded to `size` with rubbish in the padding's features, in cells of 4."""
    start = refiner.start(Photograph(image, cam, np.array(classes), threshold), 4)
    height, width = image.shape[:2]
    images = np.zeros((1, *size, 3), np.uint8)
    images[0, :height, :width] = image
    scores = np.zeros((1, size[0] // 4, size[1] // 4, start.shape[-1]), np.float32)
    scores[0, : start.shape[0], : start.shape[1]] = start
    sizes = np.array([[height, width]], np.int32)
    return Padded(*map(jnp.asarray, (images, sizes, scores, np.array([classes], np.int32))))


def a_red_square():
    """Its upper half alone has a CAM."""
    image = np.full((26, 31, 3), (10, 20, 240), np.uint8)
    image[4:20, 8:24] = (240, 20, 10)
    cam = np.zeros((26, 31, 1), np.float32)
    cam[4:12, 8:24] = 0.9
    return image, cam


def test_masks_follow_what_looks_alike_and_not_the_padding():
    (image, cam), refiner = a_red_square(), PatchAffinity(power=3.0, times=2)
    refine = jax.jit(lambda batch: refiner.refine(batch, cells_of_4))
    masks = []
    for size in ((28, 32), (40, 60)):
        made = refine(batch_of(image, cam, size, refiner))
        masks.append([np.asarray(each[0, :26, :31]) for each in made])
    for alone, padded in zip(*masks, strict=True):
        assert np.mean(alone == padded) > 0.999
        assert np.abs(alone.astype(int) - padded).max() <= 7
    square = np.zeros((26, 31), np.uint8)
    square[4:20, 8:24] = 7
    assert np.mean(masks[0][0] == square) > 0.9
    assert (masks[0][0][13:18, 10:22] == 7).all()  # where no CAM was


@pytest.mark.parametrize("threshold", [0.0, 0.02])
def test_a_background_near_0_stays_background(threshold):
    """Features that have much in common, as those of networks do: a little of the CAM
    comes everywhere.
    """
    (image, cam), refiner = a_red_square(), PatchAffinity(power=3.0, times=2)

    def alike(pixels, sizes):
        return jnp.concatenate([cells_of_4(pixels, sizes), jnp.full((1, 7, 8, 1), 0.8)], axis=-1)

    batch = batch_of(image, cam, (28, 32), refiner, threshold=threshold)
    pixels = normalize(batch.images, jnp.ones((1, 28, 32), bool))
    affinity = patch_affinity(alike(pixels, batch.sizes), power=3.0)
    assert float(affinity.min()) > 0.0
    mask = np.asarray(jax.jit(lambda batch: refiner.refine(batch, alike))(batch).mask)
    assert not mask[0, 23:26, :31].any()
    assert not mask[0, :26, 27:31].any()
    assert (mask[0, 4:12, 10:22] == 7).all()


def refined_by(refiner, image, cam, size):
    """And the size of what its network was handed."""
    looked_at = []

    def network(pixels, sizes):
        looked_at.append(pixels.shape[1:3])
        return cells_of_4(pixels, sizes)

    made = jax.jit(lambda batch: refiner.refine(batch, network))(
        batch_of(image, cam, size, refiner)
    )
    height, width = image.shape[:2]
    return np.asarray(made.mask[0, :height, :width]), looked_at


def test_a_large_photograph_is_looked_at_made_smaller():
    """4 times as large a side, the same square in the same cells, 4 times as wide."""
    image, cam = (each.repeat(4, axis=0).repeat(4, axis=1) for each in a_red_square())
    refiner = PatchAffinity(power=3.0, times=2, long_side=31)
    mask, looked_at = refined_by(refiner, image, cam, (108, 160))
    small, _ = refined_by(refiner, *a_red_square(), (28, 32))
    assert looked_at == [(32, 32)]
    assert np.mean(mask == small.repeat(4, axis=0).repeat(4, axis=1)) > 0.98
    square = np.zeros((104, 124), np.uint8)
    square[16:80, 32:96] = 7
    assert np.mean(mask == square) > 0.9
    assert (mask[52:72, 40:88] == 7).all()


def test_one_that_is_small_enough_is_not_changed_beside_large_ones():
    image, cam = a_red_square()
    whole, at_size = refined_by(PatchAffinity(long_side=200), image, cam, (60, 80))
    beside, smaller = refined_by(PatchAffinity(long_side=31), image, cam, (60, 80))
    assert (at_size, smaller) == ([(60, 80)], [(32, 32)])
    assert np.mean(beside == whole) > 0.999
    looked_at = PatchAffinity(long_side=31).looked_at(
        batch_of(image, cam, (60, 80), PatchAffinity()), 4
    )
    np.testing.assert_array_equal(looked_at.images[0, :26, :31], image)
    np.testing.assert_array_equal(looked_at.sizes, [[26, 31]])


def test_cells_at_an_edge_have_the_mean_of_the_pixels_there():
    cams = np.ones((10, 7, 2), np.float32)
    photograph = Photograph(np.zeros((10, 7, 3), np.uint8), cams, np.array([0, 1]), 0.4)
    start = PatchAffinity().start(photograph, 4)
    assert start.shape == (3, 2, 3)
    np.testing.assert_allclose(start[..., 0], 0.4, rtol=1e-6)
    np.testing.assert_allclose(start[..., 1:], 1.0, rtol=1e-6)


class Backbone(nn.Module):
    head_feature = "last"

    def __call__(self, images, sizes):
        return {"last": images[:, ::4, ::4] + sizes[:, None, None, :1], "first": images}


def test_its_network_gives_what_a_head_reads():
    network = PatchAffinity().network(Backbone())
    images, sizes = jnp.ones((1, 8, 8, 3)), jnp.array([[8, 8]])
    np.testing.assert_array_equal(network.apply({}, images, sizes), 9.0 * np.ones((1, 2, 2, 3)))
