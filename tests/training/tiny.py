"""A network of a few thousand parameters and batches for it: what is tested is the
training, not the network.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.runtime.sharding import put_batch, replicated, state_sharding
from hfpl_jax.training.optimizer import Sgd, make_optimizer
from hfpl_jax.training.schedule import Poly
from hfpl_jax.training.step import make_train_step, new_state

NUM_CLASSES, CROP = 4, 16


class Backbone(nn.Module):
    """Two convolutions of stride 2, each with batch normalisation."""

    features: int = 8
    head_feature: str = "layer2"

    @nn.compact
    def __call__(self, images, sizes, use_running_average, deterministic=True):
        x = images
        for name in ("layer1", "layer2"):
            x = nn.Conv(self.features, (3, 3), (2, 2), use_bias=False, name=f"{name}_conv")(x)
            x = nn.relu(nn.BatchNorm(use_running_average, momentum=0.9, name=f"{name}_norm")(x))
        return {"layer2": x}


def network(num_classes=NUM_CLASSES, features=8, frozen_batch_norm=True):
    return CamNetwork(Backbone(features), num_classes, frozen_batch_norm=frozen_batch_norm)


def variables(net, seed=0):
    return jax.jit(net.init)(jax.random.key(seed), jnp.zeros((1, CROP, CROP, 3)))


def mesh_of(count):
    return Mesh(np.array(jax.devices()[:count]), ("data",), axis_types=(AxisType.Auto,))


def batch(step, size=8):
    rng = np.random.default_rng([7, step])
    labels = (rng.uniform(size=(size, NUM_CLASSES)) < 0.4).astype(np.float32)
    labels[:, 0] = 1.0
    valid = np.ones((size, CROP, CROP), bool)
    valid[: size // 2, :, CROP - 3 :] = False
    image = rng.integers(0, 256, (size, CROP, CROP, 3)).astype(np.uint8) * valid[..., None].astype(
        np.uint8
    )
    return {"image": image, "valid": valid, "labels": labels}


class Trainer:
    """Network, method, optimizer and state on the first `devices` devices."""

    def __init__(
        self,
        devices=8,
        *,
        sharded=False,
        freeze=("layer1_norm/",),
        frozen_batch_norm=True,
        steps=10,
        learning_rate=0.1,
        net=None,
        skip_above=0.0,
        optimizer=None,
        schedule=None,
    ):
        self.mesh = mesh_of(devices)
        self.network = net or network(frozen_batch_norm=frozen_batch_norm)
        schedule = (schedule or Poly()).of_steps(learning_rate, steps)
        optimizer = make_optimizer(
            optimizer or Sgd(momentum=0.9),
            schedule,
            weight_decay=5e-4,
            multipliers=(("^head/", 10.0),),
        )
        method = Hfpl(Cam(), isl_weight=0.3, fsl_weight=0.5, sigma=2.0)
        self._new = lambda: new_state(variables(self.network), optimizer, freeze, method)
        self.shardings = state_sharding(self.mesh, jax.eval_shape(self._new), sharded=sharded)
        self.step = make_train_step(
            self.network,
            method,
            optimizer,
            schedule,
            steps=steps,
            freeze=freeze,
            mesh=self.mesh,
            shardings=self.shardings,
            skip_above=skip_above,
        )
        self.key = jax.device_put(jax.random.key(3), replicated(self.mesh))

    def new_state(self):
        return jax.device_put(self._new(), self.shardings)

    def run(self, state, first, last):
        """Steps `first` ... `last`, 0-based and both included, and their metrics."""
        rows = []
        for step in range(first, last + 1):
            state, metrics = self.step(state, put_batch(self.mesh, batch(step)), self.key)
            rows.append(jax.device_get(metrics))
        return state, rows


def batches(start):
    """What the loop calls: a generator has `close()`, as the iterators of the data
    have.
    """
    while True:
        yield batch(start)
        start += 1
