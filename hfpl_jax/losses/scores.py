"""From CAM logits and image labels to the scores that the feature similarity loss
compares.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, Num, typed

EPSILON = 1e-5


@typed
def max_normalize(
    logits: Float[Array, "b h w c"], *, peak_floor: float | int = 0.0
) -> Float[Array, "b h w c"]:
    """Stretches the positive part of each class's map to [0, 1], image by image.

      a = relu(z);  m = min_p a, M = max_p a
      out = relu(a - m - 1e-5) / (max(M - m, peak_floor) + 1e-5)

    A map without positive values, or a flat one, becomes 0. Gradients flow through the
    minimum and the maximum.

    Args:
      logits: raw CAM logits z.
      peak_floor: the least height a map is divided by, in logits. The gradient is up to
        1 / (M - m) long: where a class in the image has its peak at 1e-4, as happens
        when a training has just lost sight of it, one map outweighs the whole batch. A
        lower map is stretched by 1 / peak_floor and keeps its peak below 1. 0: none, as
        published.

    Source: SEAM's max_norm, used by HFPL; computed in float32 at least. The floor is
    ours.
    """
    activation = jax.nn.relu(at_least_float32(logits))
    low = jnp.min(activation, axis=(1, 2), keepdims=True)
    height = jnp.max(activation, axis=(1, 2), keepdims=True) - low
    if peak_floor:
        height = jnp.maximum(height, peak_floor)
    return jax.nn.relu(activation - low - EPSILON) / (height + EPSILON)


@typed
def add_background(scores: Float[Array, "b h w c"]) -> Float[Array, "b h w c+1"]:
    """Puts a background channel 1 - max_c s_c in front of foreground scores in [0,
    1].
    """
    return jnp.concatenate([1.0 - jnp.max(scores, axis=-1, keepdims=True), scores], axis=-1)


@typed
def similarity_scores(
    logits: Float[Array, "b h w c"],
    labels: Num[Array, "b c"] | Bool[Array, "b c"],
    *,
    peak_floor: float | int = 0.0,
) -> Float[Array, "b h w c+1"]:
    """The scores y of the feature similarity loss: normalised maps of the classes in
    the image, and the background.

      y_c = labels_c * max_normalize(z)_c;   y_0 = 1 - max_c y_c

    Args:
      logits: raw CAM logits of the foreground classes.
      labels: image labels in {0, 1}.
      peak_floor: of `max_normalize`; 0 as published.
    """
    return add_background(max_normalize(logits, peak_floor=peak_floor) * labels[:, None, None, :])
