"""A class known by few examples: its prototype is their mean, and what lies near it is of
that class.

Source: Snell, Swersky, Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS
2017, as in Chen et al., "Self-Supervised Learning for Few-Shot Image Classification",
ICASSP 2021; protonet.py of its program.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Float, Int, typed

TEMPERATURE = 128.0
"""Of the published program."""


@typed
def mean_prototypes(
    features: Float[Array, "n k"], classes: Int[Array, "n"], count: int
) -> Float[jax.Array, "c k"]:
    """P_c, the mean feature of the examples of each of `count` classes.

    A class without an example has a prototype of zeros.
    """
    features = at_least_float32(features)
    of_class = jax.nn.one_hot(classes, count, dtype=features.dtype)
    sums = jnp.einsum("nc,nk->ck", of_class, features, precision="highest")
    return sums / jnp.maximum(jnp.sum(of_class, axis=0), 1.0)[:, None]


@typed
def prototype_logits(
    queries: Float[Array, "q k"],
    prototypes: Float[Array, "c k"],
    *,
    temperature: float | int = TEMPERATURE,
) -> Float[jax.Array, "q c"]:
    """-|query - P_c|^2 / temperature."""
    away = at_least_float32(queries)[:, None] - at_least_float32(prototypes)[None]
    return -jnp.sum(jnp.square(away), axis=-1) / temperature


@typed
def prototype_loss(logits: Float[Array, "q c"], classes: Int[Array, "q"]) -> Float[jax.Array, ""]:
    """Cross-entropy of the queries' classes: mean_q (logsumexp_c L_qc - L_q,y(q))."""
    own = jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - own)
