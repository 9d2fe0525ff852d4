"""SIPE's loss of seeds, prototypes and maps, beside the published program's way of
computing it written in JAX, for where PyTorch is missing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.side import Side
from hfpl_jax.losses import (
    attention,
    general_specific_loss,
    image_specific_cam,
    presence,
    seed_prototypes,
    structure_seeds,
)


def pairwise_seeds(features: jax.Array, scores: jax.Array) -> jax.Array:
    """With the resemblances of all pairs, and their products with every class's map,
    [b, n, i, j].
    """
    b, h, w, k = features.shape
    x, s = features.reshape(b, h * w, k), scores.reshape(b, h * w, -1)
    unit = x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-5)
    pairs = jax.nn.relu(jnp.einsum("bik,bjk->bij", unit, unit, precision="highest"))
    inter = jnp.sum(pairs[:, None] * s.transpose(0, 2, 1)[:, :, None], axis=-1)
    overlap = inter / (pairs.sum(-1)[:, None] + s.sum(1)[:, :, None] - inter)
    best = jnp.argmax(overlap.at[:, 0].multiply(0.5), axis=1)
    return jax.nn.one_hot(best, s.shape[-1]).reshape(scores.shape)


def _consistency(
    find: Callable[..., jax.Array],
    batch: int,
    height: int,
    width: int,
    channels: int,
    classes: int,
) -> Side:
    compared, features, logits, labels = map(
        jnp.asarray, inputs.sipe_maps(batch, height, width, channels, classes)
    )
    present = presence(labels, jnp.ones((batch, height, width), bool))

    def loss(logits, features, compared, present):
        scores = attention(logits) * present
        seeds = jax.lax.stop_gradient(find(compared, scores)) * present
        maps = image_specific_cam(features, seed_prototypes(seeds, features))
        return general_specific_loss(scores, maps)

    function = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))

    def numbers(output) -> dict[str, np.ndarray]:
        value, (to_logits, to_features) = output
        return {
            "loss": np.asarray(value),
            "gradient to the logits": np.asarray(to_logits),
            "gradient to the features": np.asarray(to_features),
        }

    return Side(
        lambda: jax.block_until_ready(function(logits, features, compared, present)),
        numbers,
        images=batch,
    )


def consistency(**sizes: int) -> Side:
    return _consistency(structure_seeds, **sizes)


def pairwise_consistency(**sizes: int) -> Side:
    return _consistency(pairwise_seeds, **sizes)
