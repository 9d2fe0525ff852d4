"""A training step of a method, as the command compiles it, beside one of another."""

import jax
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.inputs import CLASSES
from experiments.benchmark.networks import flops, method_variables
from experiments.benchmark.seam import LEARNING_RATE
from experiments.benchmark.side import Side
from hfpl_jax.build import patterns_of
from hfpl_jax.methods import METHODS
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.runtime import allocator
from hfpl_jax.runtime.sharding import data_mesh, put_batch, replicated
from hfpl_jax.training.optimizer import Sgd, make_optimizer
from hfpl_jax.training.step import make_train_step, new_state


def of_method(method: str, against: str, **options) -> Side:
    del against
    return _step(method, **options)


def of_other(method: str, against: str, **options) -> Side:
    """Without the suppression."""
    del method
    return _step(against, **(options | {"suppression": ""}))


def _step(
    name: str,
    *,
    backbone: str,
    crop: int,
    batch: int,
    frozen_batch_norm: bool,
    freeze_stages: int,
    suppression: str,
) -> Side:
    """Scales and shifts of normalisations are trained."""
    allocator.spare_memory()  # as the command does
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
        new_state(method_variables(network), optimizer, freeze, method), replicated(mesh)
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

    return Side(run, numbers, flops=flops(compiled), images=batch)
