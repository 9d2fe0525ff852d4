import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import recipe
from jax.sharding import AxisType, Mesh
from staged_backbone import Stages

from hfpl_jax.build import build_network, frozen_patterns, variable_shapes
from hfpl_jax.inference.cam_record import as_stored
from hfpl_jax.losses import (
    attention,
    explored_cam,
    gap_loss,
    general_specific_loss,
    presence,
)
from hfpl_jax.masks import label_map
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.merge import resampled
from hfpl_jax.methods.sipe import Sipe, merged_maps, nearest
from hfpl_jax.models.sipe_network import SipeNetwork, SipeOutput
from hfpl_jax.refine.background import background_score
from hfpl_jax.resize import interpolation_matrix
from hfpl_jax.runtime.sharding import batch_sharding
from hfpl_jax.training.objective import Batch, total_loss
from hfpl_jax.training.optimizer import flatten, split_frozen

KEY = jax.random.key(3)
TERMS = {"classification", "consistency"}


def output_of(shape=(2, 3, 4), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(0.3, 1.0, (*shape, n)).astype(np.float32) for n in (classes, 6, 5)]
    return SipeOutput(*map(jnp.asarray, arrays), jnp.ones(shape, bool))


def batch_of():
    labels = jnp.asarray([[1, 0, 1], [0, 0, 1]], jnp.float32)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 48, 64, 3)), jnp.float32)
    valid = np.ones((2, 48, 64), bool)
    valid[:, :, 33:] = False  # the cell at pixel 32 is the image's, that at 48 padding
    return Batch(images, labels, jnp.asarray(valid), jnp.zeros(()))


def apply(images, *, train=False, sizes=None):
    assert train
    return output_of()


@pytest.mark.parametrize(
    ("side", "cells", "pixels"), [(64, 4, [0, 16, 32, 48]), (50, 4, [0, 12, 25, 37]), (9, 1, [0])]
)
def test_a_cell_has_the_pixel_at_its_top_left(side, cells, pixels):
    mask = np.random.default_rng(0).random((2, side, side)) < 0.5
    expected = mask[:, pixels][:, :, pixels]
    np.testing.assert_array_equal(nearest(mask, (cells, cells)), expected)


def test_terms_and_weights():
    batch, output = batch_of(), output_of()
    prediction = jax.jit(lambda batch: Sipe().predict(apply, batch, KEY))(batch)
    valid = np.ones((2, 3, 4), bool)
    valid[:, :, 3] = False
    present = presence(batch.labels, valid)
    scores = attention(output.logits) * present
    maps = explored_cam(output.feature, scores, output.hierarchy, present)
    expected = {
        "classification": gap_loss(output.logits, batch.labels),  # padding included
        "consistency": general_specific_loss(scores, maps),
    }
    assert set(prediction.losses) == set(prediction.weights) == TERMS
    for name, value in expected.items():
        assert float(prediction.losses[name]) == pytest.approx(float(value), rel=1e-6), name
    assert float(total_loss(prediction)) == pytest.approx(float(sum(expected.values())), rel=1e-6)
    np.testing.assert_array_equal(prediction.logits, output.logits)


def test_hfpl_changes_the_classification_and_adds_a_term():
    batch = batch_of()
    hfpl = Hfpl(Sipe(), isl_weight=0.2, fsl_weight=0.7, sigma=1.5)
    plain, combined = (
        jax.jit(lambda batch, method=method: method.predict(apply, batch, KEY))(batch)
        for method in (Sipe(), hfpl)
    )
    added = hfpl.add(plain, batch, jax.random.fold_in(KEY, 0))
    assert set(combined.losses) == {*TERMS, "feature_similarity"}
    for name, value in combined.losses.items():
        assert float(value) == pytest.approx(float(added.losses[name]), rel=1e-5), name
    for name in TERMS:
        changed = float(combined.losses[name]) != pytest.approx(float(plain.losses[name]))
        assert changed == (name == "classification"), name
    assert float(combined.weights["feature_similarity"]) == pytest.approx(0.7)


@pytest.fixture(scope="module")
def bound():
    """A network of several strides, with its parameters in place."""
    network = SipeNetwork(Stages(), 3)
    images = jnp.zeros((1, 32, 32, 3))
    variables = jax.jit(network.init)(jax.random.key(0), images)
    return jax.jit(functools.partial(network.apply, variables))


@pytest.fixture(scope="module")
def maps_of(bound):
    return jax.jit(functools.partial(Sipe().maps, bound))


def images_of(height, width, count=2):
    rng = np.random.default_rng(4)
    return rng.normal(0.0, 1.0, (count, height, width, 3)).astype(np.float32)


@jax.jit
def explored(logits, hierarchy):
    """Image-specific CAMs where every class may be, the background's last."""
    scores = attention(logits)
    cams = explored_cam(hierarchy, scores, hierarchy, jnp.ones_like(scores))
    return jnp.concatenate([cams[..., 1:], cams[..., :1]], axis=-1)


def test_maps_of_an_image_and_its_mirror_image(bound, maps_of):
    """Both are added before anything else is done; seeds are found by the hierarchy."""
    images, sizes = images_of(48, 64), np.full((2, 2), (48, 64), np.int32)
    mirrored = images[:, :, ::-1]
    found = maps_of(images, sizes, mirrored)
    plain, turned = bound(images), bound(mirrored)
    logits = plain.logits + turned.logits[:, :, ::-1]
    hierarchy = plain.hierarchy + turned.hierarchy[:, :, ::-1]
    assert found.cams.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(found.cams, explored(logits, hierarchy), atol=1e-5)
    np.testing.assert_allclose(found.logits, logits / 2, atol=1e-5)
    once = maps_of(images, sizes)
    np.testing.assert_allclose(once.cams, explored(plain.logits, plain.hierarchy), atol=1e-5)
    np.testing.assert_allclose(once.logits, plain.logits, atol=1e-5)
    assert np.abs(found.cams - once.cams).max() > 0.01


@pytest.mark.parametrize("flip", [False, True])
def test_padded_images_have_the_maps_that_they_have_alone(maps_of, flip):
    images = images_of(64, 80)
    size = np.array([[64, 80], [39, 50]], np.int32)
    mirrored = images[:, :, ::-1].copy()
    mirrored[1, :, :50] = images[1, :, :50][:, ::-1]
    padded = maps_of(images, size, *([mirrored] if flip else []))
    alone = maps_of(
        images[1:, :39, :50], size[1:], *([images[1:, :39, :50][:, :, ::-1]] if flip else [])
    )
    for name in ("cams", "logits"):
        ours, expected = getattr(padded, name)[1, :3, :4], getattr(alone, name)[0]
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_a_divided_batch_has_the_same_maps(maps_of):
    images, sizes = images_of(32, 48, count=8), np.full((8, 2), (32, 48), np.int32)
    given = images, sizes, images[:, :, ::-1]
    whole = maps_of(*given)
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    assert mesh.size == 8
    divided = maps_of(*jax.device_put(given, batch_sharding(mesh)))
    for ours, expected in zip(divided, whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, -2.0, 3.0])
@pytest.mark.parametrize("side", [1, 2])
def test_flat_maps_are_finite(side, value):
    shape = (1, side, side)
    output = SipeOutput(
        jnp.full((*shape, 3), value),
        jnp.zeros((*shape, 2)),
        jnp.full((*shape, 4), value),
        jnp.ones(shape, bool),
    )
    images, sizes = jnp.zeros((1, 16 * side, 16 * side, 3)), jnp.full((1, 2), 16 * side)
    maps = Sipe().maps(lambda images, sizes: output, images, sizes)
    assert np.isfinite(maps.cams).all()
    merged = Sipe().merge([maps.cams[0]], np.array([0, 2]), [(16, 16)], (16, 16), 16)
    assert np.isfinite(merged).all()
    assert 0.0 <= float(merged.min()) <= float(merged.max()) <= 1.0


SIZE = (29, 37)


def scales(seed=0):
    rng = np.random.default_rng(seed)
    maps = [rng.random((*cells, 5)).astype(np.float32) for cells in ((2, 3), (4, 5))]
    for of_scale in maps:
        of_scale[..., 1] = 0.0  # a class without seeds
        of_scale[-1, -1] = 0.0  # nothing resembles any prototype here, the background's neither
    return maps


def test_scales_are_added_at_the_photographs_size():
    maps, classes = scales(), np.array([1, 3])
    summed = sum(
        resampled(
            of_scale[..., [4, 1, 3]],
            *(
                interpolation_matrix(cells, side, False)
                for cells, side in zip(of_scale.shape[:2], SIZE, strict=True)
            ),
        )
        for of_scale in maps
    )
    found = merged_maps(maps, classes, SIZE)
    np.testing.assert_allclose(found, summed / (summed.max((0, 1)) + 1e-5), atol=1e-6)
    assert found.dtype == np.float32
    assert 0.99 < found[..., 0].max() < 1.0
    assert not found[..., 1].any()


def test_the_label_map_is_the_strongest_of_all_maps_the_backgrounds_too():
    maps, classes = scales(), np.array([0, 1, 3])
    merged = merged_maps(maps, classes, SIZE)
    expected = np.array([0, 1, 2, 4])[merged.argmax(axis=-1)]
    assert set(np.unique(expected)) == {0, 1, 4}
    cams = Sipe().merge(maps, classes, [SIZE] * 2, SIZE, 16)
    assert cams.dtype == np.float32
    assert 0.0 <= cams.min() < cams.max() <= 1.0
    np.testing.assert_array_equal(label_map(cams, classes, threshold=Sipe.threshold), expected)
    # In 8 bits, too, foreground is what is ahead: only like classes may change places.
    stored = label_map(as_stored(cams), classes, threshold=Sipe.threshold)
    np.testing.assert_array_equal(stored > 0, expected > 0)
    tie = (merged == 0.0).all(axis=-1)
    assert tie.any()
    assert not stored[tie].any()


def test_a_class_is_as_far_above_a_half_as_it_is_ahead():
    maps = [np.array([[[0.5, 0.1, 0.9], [1.0, 1.0, 0.3], [0.25, 0.5, 0.6]]], np.float32)]
    found = Sipe().merge(maps, np.array([0, 1]), [(1, 3)], (1, 3), 1)
    normalised = maps[0] / (maps[0].max((0, 1)) + 1e-5)
    expected = 0.5 + 0.5 * (normalised[..., :2] - normalised[..., 2:])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_merging_in_an_exported_program_is_the_same():
    maps, classes = scales(), np.arange(4)
    expected = Sipe().merge(maps, classes, [SIZE] * 2, SIZE, 16)
    merge = jax.vmap(lambda *maps: Sipe().merge(maps, classes, [SIZE] * 2, SIZE, 16))
    with jax.default_matmul_precision("highest"):
        found = jax.jit(merge)(*(each[None] for each in maps))[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_photograph_of_background_has_no_maps():
    found = Sipe().merge(scales(), np.array([], np.int64), [SIZE] * 2, SIZE, 16)
    assert found.shape == (*SIZE, 0)


def test_affinity_net_is_sure_of_the_background_that_wins_when_it_is_halved():
    """And of a class that wins as it is; between them of neither."""
    alphas = recipe("sipe", "").refine.random_walk.affinity.alphas
    scores = np.array([0.05, 0.45, 0.55, 0.95, 1.0], np.float32)
    of_background = np.array([1.0, 1.0, 1.0, 1.0, 0.9], np.float32)
    maps = [np.stack([scores, of_background], axis=-1)[None]]
    cams = Sipe().merge(maps, np.array([0]), [(1, 5)], (1, 5), 1)
    low, high = (background_score(cams, alpha) for alpha in alphas)
    assert (low[..., 0] > low[..., 1]).tolist() == [[True, True, True, True, False]]
    assert (high[..., 0] > high[..., 1]).tolist() == [[True, True, False, False, False]]


@pytest.mark.parametrize(
    ("switches", "rate", "momentum"), [("published", 0.1, 0.0001), ("", 0.01, 0.9)]
)
def test_groups_of_parameters(switches, rate, momentum):
    """Frozen up to layer2; all others are decayed, scales and shifts too; the head and
    the sides learn ten times as fast. Gradients are clipped to a norm of 1.
    """
    config = recipe("sipe", switches)
    config.model.weights = "resnet50.safetensors"
    network, train = build_network(config, 20), config.train
    assert (network.frozen_batch_norm, network.dropout) == (True, 0.0)
    assert (train.sgd.momentum, train.sgd.nesterov, train.clip) == (momentum, False, 1.0)
    params = variable_shapes(network)["params"]
    trained, _ = split_frozen(params, frozen_patterns(config, "train", network))
    stages = {path.split("/")[1] for path in trained if path.startswith("backbone/")}
    assert stages == {"layer3", "layer4"}
    assert {path.rpartition("/")[2] for path in trained} == {"kernel", "scale", "bias"}
    assert not train.no_decay
    rates = {
        path.partition("/")[0]: train.learning_rate
        * next((value for pattern, value in train.multipliers if re.search(pattern, path)), 1.0)
        for path in trained
    }
    new = ("head", "side_layer1", "side_layer2", "side_layer3", "side_layer4")
    assert rates == pytest.approx({"backbone": rate, **dict.fromkeys(new, 10 * rate)})
    assert train.weight_decay == 1e-4
    assert len(trained) < len(flatten(params))
