"""Batch normalisation by the batch's statistics, where the network is called on images
and then on their tiles: over all devices, and one call after the other.

The batch is normalised by its biased variance; the running variance takes the unbiased
one, n / (n - 1) of it, as in torch, where the published programs were trained.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import mesh_of

from hfpl_jax.models.convolution import BatchNorm, ConvBatchNorm
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.runtime.sharding import put_batch, replicated
from hfpl_jax.training.objective import Objective, Prediction
from hfpl_jax.training.optimizer import Sgd, flatten, make_optimizer
from hfpl_jax.training.step import make_train_step, new_state

IMAGES, SIDE, CHANNELS, SHARE = 8, 4, 3, 0.25
"""An image a device; the share of a batch in the running statistics."""


class Normed(nn.Module):
    """Both layers of the library that normalise batches."""

    @nn.compact
    def __call__(self, images, train):
        x, _ = ConvBatchNorm(CHANNELS, 3, momentum=SHARE, name="conv")(images, None, not train)
        return BatchNorm(SHARE, name="norm")(jnp.tanh(x), not train)


def tiles(images):
    """Quarters: the first of all images, then the second of all."""
    half = SIDE // 2
    corners = [(row, column) for row in (0, half) for column in (0, half)]
    return [images[:, row : row + half, column : column + half] for row, column in corners]


class Puzzle(Objective):
    """The tiles' maps, put together, shall be those of the image."""

    def predict(self, apply, batch, key):
        whole = apply(batch.images, train=True)
        maps = apply(jnp.concatenate(tiles(batch.images)), train=True)
        first, second, third, fourth = jnp.split(maps, 4)
        merged = jnp.concatenate(
            [jnp.concatenate([first, second], 2), jnp.concatenate([third, fourth], 2)], 1
        )
        losses = {
            "classification": jnp.mean((whole.mean((1, 2)) - batch.labels) ** 2),
            "reconstruction": jnp.mean((whole - merged) ** 2),
        }
        return Prediction(whole, losses, {"classification": 1.0, "reconstruction": 2.0})


def start():
    """Scales, shifts and running statistics that are not those of an untrained network."""
    rng = np.random.default_rng(0)
    init = Normed().init(jax.random.key(1), jnp.zeros((1, SIDE, SIDE, 3)), train=False)
    params = {
        path: value if path.endswith("kernel") else rng.uniform(0.5, 1.5, value.shape)
        for path, value in flatten(init["params"]).items()
    }
    stats = {
        path: rng.uniform(0.5, 1.5, value.shape)
        for path, value in flatten(init["batch_stats"]).items()
    }
    return params, stats


def batch():
    """Images that grow brighter from device to device, so that a device's own statistics
    are not those of all.
    """
    rng = np.random.default_rng(2)
    brightest = np.linspace(60, 255, IMAGES)[:, None, None, None]
    return {
        "image": (rng.uniform(0, 1, (IMAGES, SIDE, SIDE, 3)) * brightest).astype(np.uint8),
        "valid": np.ones((IMAGES, SIDE, SIDE), bool),
        "labels": rng.normal(size=(IMAGES, CHANNELS)).astype(np.float32),
    }


def step_of(devices):
    """Gradients, running statistics and losses of one step, by path."""
    mesh, objective = mesh_of(devices), Puzzle()
    optimizer = make_optimizer(Sgd(), lambda _: 1.0, weight_decay=0.0, multipliers=())
    step = make_train_step(
        Normed(), objective, optimizer, lambda _: 1.0, steps=1, freeze=(), mesh=mesh
    )
    params, stats = (
        jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), nested(part))
        for part in start()
    )
    state = new_state({"params": params, "batch_stats": stats}, optimizer, (), objective)
    before = jax.device_get(state.params)
    state = jax.device_put(state, replicated(mesh))
    key = jax.device_put(jax.random.key(0), replicated(mesh))
    state, metrics = jax.device_get(step(state, put_batch(mesh, batch()), key))
    gradients = jax.tree.map(lambda old, new: old - new, before, state.params)
    return flatten(gradients), flatten(state.batch_stats), metrics


def nested(flat):
    tree = {}
    for path, value in flat.items():
        module, name = path.split("/")
        tree.setdefault(module, {})[name] = value
    return tree


def normed(x, params, stats, name):
    """Normalised by the batch; `stats` move towards it."""
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    count = x[..., 0].size
    for kind, new in (("mean", mean), ("var", var * count / (count - 1))):
        path = f"{name}/{kind}"
        stats[path] = (1 - SHARE) * stats[path] + SHARE * new
    scale, bias = params[f"{name}/scale"], params[f"{name}/bias"]
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


def network(images, params, stats):
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = sum(
        padded[:, row : row + height, column : column + width] @ params["conv/kernel"][row, column]
        for row in range(3)
        for column in range(3)
    )
    return normed(np.tanh(normed(x, params, stats, "conv")), params, stats, "norm")


def normalized():
    """The batch's images as the network sees them."""
    mean, std = IMAGENET_MEAN.astype(np.float64), IMAGENET_STD.astype(np.float64)
    return (batch()["image"] / 255.0 - mean) / std


def loss_by_hand(params, stats):
    """Of the whole batch in float64; `stats` become those after both calls."""
    arrays = batch()
    mean, std = IMAGENET_MEAN.astype(np.float64), IMAGENET_STD.astype(np.float64)
    images = (arrays["image"] / 255.0 - mean) / std
    whole = network(images, params, stats)
    first, second, third, fourth = np.split(
        network(np.concatenate(tiles(images)), params, stats), 4
    )
    merged = np.concatenate(
        [np.concatenate([first, second], 2), np.concatenate([third, fourth], 2)], 1
    )
    classification = np.mean((whole.mean((1, 2)) - batch()["labels"]) ** 2)
    return classification + 2.0 * np.mean((whole - merged) ** 2)


@pytest.fixture(scope="module")
def by_hand():
    """Loss, gradients by central differences and running statistics, in float64."""
    params, stats = (
        {path: np.array(value, np.float64) for path, value in part.items()} for part in start()
    )
    after = dict(stats)
    loss = loss_by_hand(params, after)
    gradients = {path: np.zeros_like(value) for path, value in params.items()}
    for path, value in params.items():
        for place in np.ndindex(value.shape):
            kept, sides = value[place], []
            for value[place] in (kept - 1e-5, kept + 1e-5):
                sides.append(loss_by_hand(params, dict(stats)))
            value[place] = kept
            gradients[path][place] = (sides[1] - sides[0]) / 2e-5
    return loss, gradients, after


@pytest.mark.parametrize("devices", [1, 8])
def test_statistics_and_gradients_are_those_of_the_global_batch(by_hand, devices):
    loss, gradients, stats = by_hand
    found_gradients, found_stats, metrics = step_of(devices)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["reconstruction"] > 1e-2
    for found, expected, tolerance in (
        (found_gradients, gradients, 2e-5),
        (found_stats, stats, 2e-6),
    ):
        assert found.keys() == expected.keys()
        for path, value in expected.items():
            np.testing.assert_allclose(
                found[path], value, rtol=tolerance, atol=tolerance, err_msg=path
            )


def test_the_oracle_tells_order_variance_and_devices_apart(by_hand):
    """The running statistics of the calls in the other order, with the biased variance,
    or of the first image alone, are not within the test's tolerance.
    """
    _, _, right = by_hand
    params, stats = start()
    images = normalized()
    quarters = np.concatenate(tiles(images))
    count = images[..., 0].size
    for calls, factor in (
        ((quarters, images), 1.0),
        ((images, quarters), (count - 1) / count),
        ((images[:1], quarters[::IMAGES]), 1.0),
    ):
        other = dict(stats)
        for call in calls:
            before = dict(other)
            network(call, params, other)
            kept = (1 - SHARE) * before["conv/var"]
            other["conv/var"] = kept + factor * (other["conv/var"] - kept)
        assert np.abs(other["conv/var"] - right["conv/var"]).min() > 1e-4
