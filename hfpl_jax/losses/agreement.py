"""How far several networks are from one opinion of the same pixels: all of them among
each other, or a student from its teacher.

Source: Peng, Estrada, Pedersoli, Desrosiers, "Deep co-training for semi-supervised image
segmentation", Pattern Recognition 2020, and the losses of its program.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, typed

EPSILON = 1e-10
"""Added to what a logarithm is taken of, as published."""


@typed
def agreement_loss(
    logits: Float[Array, "s b h w k"], counted: Bool[Array, "b h w"]
) -> Float[jax.Array, ""]:
    """Mean over the counted pixels of the Jensen-Shannon divergence of s networks; 0 if
    there are none.

      JSD = H(1/S sum_s p_s) - 1/S sum_s H(p_s)
      H(p) = -sum_k p_k log(p_k + 1e-10),   p_s = softmax(z_s)

    It teaches all networks.

    Args:
      logits: of each network for the same images, one channel a class.
      counted: the pixels, or cells, that are no padding.
    """
    probabilities = jax.nn.softmax(at_least_float32(logits))
    mixed = _entropy(probabilities.mean(axis=0)) - _entropy(probabilities).mean(axis=0)
    return _mean(mixed, counted)


@typed
def teaching_loss(
    logits: Float[Array, "b h w k"],
    teacher: Float[Array, "b h w k"],
    counted: Bool[Array, "b h w"],
) -> Float[jax.Array, ""]:
    """Mean over the counted pixels of the Kullback-Leibler divergence of a student from
    its teacher, to whom it gives no gradient; 0 if there are none.

      KL = sum_k y_k (log(y_k + 1e-10) - log(p_k + 1e-10)),   p = softmax(z)

    Args:
      logits: z, of the student.
      teacher: y, probabilities.
      counted: the pixels, or cells, that are no padding.
    """
    teacher = jax.lax.stop_gradient(at_least_float32(teacher))
    student = jax.nn.softmax(at_least_float32(logits))
    ratio = jnp.log(teacher + EPSILON) - jnp.log(student + EPSILON)
    return _mean(jnp.sum(teacher * ratio, axis=-1), counted)


def _entropy(probabilities: jax.Array) -> jax.Array:
    return -jnp.sum(probabilities * jnp.log(probabilities + EPSILON), axis=-1)


def _mean(values: jax.Array, counted: Array) -> jax.Array:
    return jnp.sum(jnp.where(counted, values, 0.0)) / jnp.maximum(jnp.sum(counted), 1)
