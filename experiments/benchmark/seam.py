"""A training step of SEAM with both HFPL losses: ours, and ours with the feature
similarity loss over pairs, where PyTorch is missing.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.inputs import CLASSES
from experiments.benchmark.losses import pairwise_feature_similarity
from experiments.benchmark.networks import flops
from experiments.benchmark.side import Side
from experiments.benchmark.weights import seam_network, seam_variables
from hfpl_jax.build import patterns_of
from hfpl_jax.losses import similarity_scores
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.seam import Seam
from hfpl_jax.models.preprocess import colours
from hfpl_jax.runtime import allocator
from hfpl_jax.runtime.sharding import data_mesh, put_batch, replicated
from hfpl_jax.training.objective import Batch, Prediction
from hfpl_jax.training.optimizer import Sgd, flatten, make_optimizer
from hfpl_jax.training.step import make_train_step, new_state

LEARNING_RATE, MOMENTUM, DECAY, ISL_WEIGHT = 0.01, 0.0005, 5e-4, 0.2
SIGMA = {"resnet50": 2.5, "resnet38": 5.0}
"""Pixels of the CAM, at stride 16 and at stride 8."""

WATCHED = {
    "resnet50": {
        "head": "head/kernel",
        "embed": "embed/kernel",
        "middle": "backbone/layer3/block2/conv2/kernel",
    },
    "resnet38": {
        "head": "head/kernel",
        "embed": "embed/kernel",
        "middle": "backbone/b4_2/conv_branch2a/kernel",
    },
}
"""Parameters whose first update is compared."""


@dataclasses.dataclass(frozen=True)
class _WithoutDropout:
    """A network whose dropout lets everything pass: no two programs draw the same."""

    network: nn.Module

    def apply(self, *arguments, **options):
        def passing(following, positional, named, context):
            return (
                positional[0]
                if isinstance(context.module, nn.Dropout)
                else following(*positional, **named)
            )

        with nn.intercept_methods(passing):
            return self.network.apply(*arguments, **options)


class _PairwiseHfpl(Hfpl):
    """The feature similarity loss by [n, n, k] arrays."""

    def add(self, prediction: Prediction, batch: Batch, key: jax.Array) -> Prediction:
        sampled = dataclasses.replace(Hfpl(**vars(self)), fsl_weight=0.0).add(
            prediction, batch, key
        )
        images = colours(batch.images, sampled.logits.shape[1:3])
        scores = similarity_scores(sampled.logits, batch.labels)
        loss = pairwise_feature_similarity(images, scores, sigma=self.sigma)
        return sampled._replace(
            losses={**sampled.losses, "feature_similarity": loss},
            weights={**sampled.weights, "feature_similarity": self.fsl_weight},
        )


def _step(method_class: type[Hfpl], backbone: str, crop: int, batch: int) -> Side:
    allocator.spare_memory()  # as the command does
    images, labels, fractions = inputs.crops(batch, crop)

    def sample(key: jax.Array, logits: jax.Array, *, num_samples: int) -> jax.Array:
        return jnp.asarray(fractions * (logits.shape[1] * logits.shape[2]), jnp.int32)

    network = seam_network(backbone, CLASSES)
    method = method_class(
        Seam(peak_floor=0.0, corrected_floor=0.0),
        isl_weight=ISL_WEIGHT,
        fsl_weight=1.0,
        sigma=SIGMA[backbone],
        sample=sample,
    )
    optimizer = make_optimizer(
        Sgd(momentum=MOMENTUM),
        lambda _: LEARNING_RATE,
        weight_decay=DECAY,
        multipliers=((r"^(?!backbone/)", 10.0),),
    )
    freeze = patterns_of(network, stages=2, norms=True)
    mesh = data_mesh(batch, "batch")
    train_step = make_train_step(
        _WithoutDropout(network),
        method,
        optimizer,
        lambda _: LEARNING_RATE,
        steps=1,
        freeze=freeze,
        mesh=mesh,
    )
    state = new_state(seam_variables(network), optimizer, freeze, method)
    state = jax.device_put(state, replicated(mesh))
    key = jax.device_put(jax.random.key(0), replicated(mesh))
    on_device = put_batch(
        mesh, {"image": images, "valid": np.ones(images.shape[:3], bool), "labels": labels}
    )
    compiled = train_step.lower(state, on_device, key).compile()
    watch = functools.partial(_watched, backbone)
    held = [state, watch(state.params)]

    def run() -> dict[str, jax.Array]:
        held[0], metrics = compiled(held[0], on_device, key)
        return jax.block_until_ready(metrics)

    def numbers(metrics: dict[str, jax.Array]) -> dict[str, np.ndarray]:
        """Of the first step."""
        updates = {
            f"update of {name}": array - held[1][name]
            for name, array in watch(held[0].params).items()
        }
        return {
            **updates,
            **{
                name: np.asarray(value)
                for name, value in metrics.items()
                if name not in ("learning_rate", "skipped_steps")
            },
        }

    return Side(run, numbers, flops=flops(compiled), images=batch)


def _watched(backbone: str, params: dict) -> dict[str, np.ndarray]:
    """Out x in x rows x columns, as PyTorch has them."""
    flat = flatten(params)
    arrays = {name: np.array(flat[path]) for name, path in WATCHED[backbone].items()}
    return {
        name: array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T[..., None, None]
        for name, array in arrays.items()
    }


def ours(backbone: str, crop: int, batch: int) -> Side:
    return _step(Hfpl, backbone, crop, batch)


def pairwise(backbone: str, crop: int, batch: int) -> Side:
    return _step(_PairwiseHfpl, backbone, crop, batch)
