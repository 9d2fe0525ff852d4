"""How logits become one a class, in training and in padded batches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import recipe

from hfpl_jax.build import build_network, build_objective
from hfpl_jax.inference.cams import cam_predictor, split_maps
from hfpl_jax.inference.multi_scale import MultiScale
from hfpl_jax.losses import gap_loss, peak_mean, pooled_loss
from hfpl_jax.losses.ranked_pooling import ranked_mean
from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.pooling import POOLINGS
from hfpl_jax.methods.prm import Prm
from hfpl_jax.methods.puzzle import Puzzle, join
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.training.objective import Batch


class Output(NamedTuple):
    logits: jax.Array


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


LABELS = jnp.asarray([[1, 0, 1], [0, 1, 0]])


def batch_of(size=32):
    images = random(2, size, size, 3)
    return Batch(images, LABELS, jnp.ones(images.shape[:3], bool), jnp.zeros(()))


@pytest.mark.parametrize("name", POOLINGS)
def test_classification_is_of_what_is_pooled(name):
    logits = random(2, 4, 5, 3)
    found = Cam(pooling=name).classification(logits, LABELS)
    gap, enlarged, ranked = (
        float(loss)
        for loss in (
            gap_loss(logits, LABELS),
            pooled_loss(peak_mean(logits, enlarge=8), LABELS),
            pooled_loss(ranked_mean(logits), LABELS),
        )
    )
    expected = {"mean": gap, "ranked": ranked}.get(name, enlarged)
    assert float(found) == pytest.approx(expected, rel=1e-6)
    assert enlarged != pytest.approx(gap, rel=1e-2)
    assert ranked != pytest.approx(gap, rel=1e-4)


def test_prm_is_cam_with_peaks_and_a_bias():
    assert Prm().pooling == "peaks"
    config = recipe("prm", "data=scenes")
    network = build_network(config, 3)
    assert network.with_bias
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    head = variables["params"]["head"]
    assert head["bias"].shape == (3,)
    shifted = {**variables["params"], "head": {**head, "bias": jnp.asarray([1.0, 2.0, 3.0])}}
    images = random(1, 32, 32, 3)
    apply = jax.jit(network.apply)
    plain, moved = (
        apply({**variables, "params": params}, images).logits
        for params in (variables["params"], shifted)
    )
    np.testing.assert_allclose(
        moved - plain, jnp.broadcast_to(jnp.arange(1.0, 4), plain.shape), atol=1e-4
    )


def test_both_losses_go_with_peaks():
    """The importance sampling loss takes its share of the classification by peaks."""
    logits = random(2, 8, 8, 3, seed=1)
    config = recipe("prm", "data=scenes,isl=0.25")
    prediction = build_objective(config).predict(
        lambda images, *, train: Output(logits), batch_of(), jax.random.key(0)
    )
    assert set(prediction.losses) == {"classification", "feature_similarity"}
    config.hfpl.isl_weight = 1.0
    sampled = (
        build_objective(config)
        .predict(lambda images, *, train: Output(logits), batch_of(), jax.random.key(0))
        .losses["classification"]
    )
    expected = 0.75 * Prm().classification(logits, LABELS) + 0.25 * sampled
    assert float(prediction.losses["classification"]) == pytest.approx(float(expected), rel=1e-5)


def test_puzzle_pools_both_of_its_maps_over_peaks():
    full, tiles = random(2, 4, 4, 3), random(8, 2, 2, 3, seed=1)
    outputs = iter((Output(full), Output(tiles)))
    prediction = Puzzle(pooling="peaks").predict(
        lambda images, *, train: next(outputs), batch_of(), jax.random.key(0)
    )
    for name, maps in (("classification", full), ("classification_tiles", join(tiles))):
        expected = pooled_loss(peak_mean(maps, enlarge=8), LABELS)
        assert float(prediction.losses[name]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "peaks"])
def test_probabilities_are_of_what_the_classifier_pools(pooling):
    """Of photographs in a padded batch, from their own pixels alone."""
    network = CamNetwork(build_network(recipe("prm", "data=scenes"), 3).backbone, 3)
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    settings = MultiScale((1.0,), None, False, 8)
    predictor = cam_predictor(network, Cam(pooling=pooling), variables, settings, local_mesh(8, ""))
    sizes = np.array([[40, 48], [24, 33]] * 4, np.int32)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 40, 48, 3), np.uint8)
    for image, (height, width) in zip(images, sizes, strict=True):
        image[height:], image[:, width:] = 0, 0
    both = np.asarray(jax.jit(predictor.logits)(variables, images, sizes))
    for index in (0, 1):
        rows, columns = -(-sizes[index] // 8)
        maps, pooled = split_maps([both[index, :rows, :columns]], 3, views=1)
        own = jnp.asarray(maps[0])[None]
        expected = peak_mean(own) if pooling == "peaks" else own.mean((1, 2))
        np.testing.assert_allclose(pooled, expected[0], rtol=1e-4, atol=1e-5)
