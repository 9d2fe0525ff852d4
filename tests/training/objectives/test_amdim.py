"""What the pretraining makes of a batch."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from staged_backbone import Stages

from hfpl_jax.losses.contrastive_estimation import multiscale_losses
from hfpl_jax.models.amdim_network import AmdimNetwork, AmdimOutput
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.backbones.resnet38 import ResNet38
from hfpl_jax.models.backbones.vgg16 import Vgg16
from hfpl_jax.runtime.sharding import put_batch, replicated
from hfpl_jax.training.objective import Batch
from hfpl_jax.training.objectives import amdim
from hfpl_jax.training.objectives.amdim import Amdim, least_crop
from hfpl_jax.training.optimizer import Sgd, make_optimizer
from hfpl_jax.training.step import make_train_step, new_state

PHOTOGRAPHS, K = 4, 3


def rows(*shape):
    made = np.random.default_rng(shape).normal(size=(2 * PHOTOGRAPHS, *shape, K))
    return jnp.asarray(made, jnp.float32)


def predicted(key, monkeypatch):
    """The prediction, and what the losses were handed."""
    handed = {}

    def recorded(whole, five, seven, places):
        handed.update(whole=whole, five=five, seven=seven, places=places)
        return multiscale_losses(whole, five, seven, places)

    monkeypatch.setattr(amdim, "multiscale_losses", recorded)
    output = AmdimOutput(rows(), rows(5, 5), rows(7, 7))
    batch = Batch(rows(1, 1), (), jnp.ones(()), jnp.zeros(()))
    return Amdim().predict(lambda images, train: output, batch, key), handed, output


def test_rows_next_to_each_other_are_the_views_of_one_photograph(monkeypatch):
    prediction, handed, output = predicted(jax.random.key(0), monkeypatch)
    for name in ("whole", "five", "seven"):
        together = getattr(output, name)
        np.testing.assert_array_equal(handed[name][0], together[0::2])
        np.testing.assert_array_equal(handed[name][1], together[1::2])
    assert prediction.weights == dict.fromkeys(prediction.losses, 1.0)
    assert len(prediction.losses) == 4


def test_the_source_positions_of_the_two_views_are_drawn_on_their_own(monkeypatch):
    drawn = np.stack(
        [predicted(jax.random.key(seed), monkeypatch)[1]["places"] for seed in range(60)]
    )
    assert drawn.shape == (60, 2, PHOTOGRAPHS)
    assert (drawn.min(), drawn.max()) == (0, 24)
    assert np.mean(drawn[:, 0] == drawn[:, 1]) < 0.15  # a twenty-fifth by chance


@pytest.mark.parametrize(
    ("backbone", "least"),
    [(ResNet(50, 16), 112), (ResNet(18, 32), 160), (ResNet38(), 56), (Vgg16(), 56)],
)
def test_the_least_crop_has_seven_and_five_positions(backbone, least):
    assert least_crop(backbone) == least


class Convolutional(Stages):
    middle_features: ClassVar[tuple[str, str]] = ("layer2", "layer3")


def trained(devices):
    """Losses and parameters of two steps on so many devices."""
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",), axis_types=(AxisType.Auto,))
    network, objective = AmdimNetwork(Convolutional()), Amdim()
    optimizer = make_optimizer(Sgd(), lambda _: 0.1, weight_decay=0.0, multipliers=())
    step = make_train_step(
        network, objective, optimizer, lambda _: 0.1, steps=2, freeze=(), mesh=mesh
    )
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    state = jax.device_put(new_state(variables, optimizer, (), objective), replicated(mesh))
    key, losses = jax.device_put(jax.random.key(1), replicated(mesh)), []
    for number in range(2):
        images = np.random.default_rng(number).integers(0, 256, (16, 32, 32, 3), np.uint8)
        batch = {"image": images, "valid": np.ones((16, 32, 32), bool)}
        state, metrics = step(state, put_batch(mesh, batch), key)
        losses.append({name: float(value) for name, value in metrics.items()})
    return losses, jax.device_get(state.params)


@pytest.mark.optimized
def test_eight_devices_learn_what_one_does():
    (one, params), (eight, found) = trained(1), trained(8)
    for alone, shared in zip(one, eight, strict=True):
        assert shared == pytest.approx(alone, rel=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, params)
