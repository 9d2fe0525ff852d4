"""A training step of a method, as the command compiles it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.inputs import CLASSES
from experiments.benchmark.seam import LEARNING_RATE
from experiments.benchmark.side import Side
from experiments.benchmark.weights import seam_variables
from hfpl_jax.build import patterns_of
from hfpl_jax.methods import METHODS
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.runtime import allocator
from hfpl_jax.runtime.sharding import data_mesh, put_batch, replicated
from hfpl_jax.training.optimizer import Sgd, make_optimizer
from hfpl_jax.training.step import make_train_step, new_state


def _variables(network: nn.Module) -> dict:
    """Backbone and classifier follow from their names, and are those of all methods; what
    a method has besides is random.
    """
    shared, random = seam_variables(CamNetwork(network.backbone, CLASSES)), np.random.default_rng(0)

    def noise(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return 0.1 * random.standard_normal(leaf.shape, np.float32)

    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    abstract = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    params = {
        name: shared["params"].get(name) or jax.tree.map(noise, tree)
        for name, tree in abstract.items()
    }
    return {**shared, "params": params}


def step(
    name: str,
    backbone: str,
    crop: int,
    batch: int,
    *,
    frozen_batch_norm: bool,
    freeze_stages: int,
    suppression: str = "",
) -> Side:
    """Of the method `name`; scales and shifts of normalisations are trained."""
    allocator.keep_freed_memory()  # as the command does
    images, labels, _ = inputs.crops(batch, crop)
    entry, method = BACKBONES[backbone], METHODS[name]()
    network = method.network(
        entry.network(entry.settings(), suppression=suppression),
        CLASSES,
        frozen_batch_norm=frozen_batch_norm,
        dropout=0.0,
    )
    optimizer = make_optimizer(
        Sgd(momentum=0.9), lambda _: LEARNING_RATE, weight_decay=1e-4, multipliers=()
    )
    freeze = patterns_of(network, stages=freeze_stages, norms=False)
    mesh = data_mesh(batch, "batch")
    program = make_train_step(
        network, method, optimizer, lambda _: LEARNING_RATE, steps=1, freeze=freeze, mesh=mesh
    )
    state = jax.device_put(
        new_state(_variables(network), optimizer, freeze, method), replicated(mesh)
    )
    key = jax.device_put(jax.random.key(0), replicated(mesh))
    on_device = put_batch(
        mesh, {"image": images, "valid": np.ones(images.shape[:3], bool), "labels": labels}
    )
    compiled = program.lower(state, on_device, key).compile()
    held = [state]

    def run() -> dict[str, jax.Array]:
        held[0], metrics = compiled(held[0], on_device, key)
        return jax.block_until_ready(metrics)

    def numbers(metrics: dict[str, jax.Array]) -> dict[str, np.ndarray]:
        """The term that all methods have, at the first step."""
        return {"classification": np.asarray(metrics["classification"])}

    cost = compiled.cost_analysis() or {}
    return Side(
        run, numbers, flops=cost.get("flops"), bytes=cost.get("bytes accessed"), images=batch
    )
