"""Prototypes: one direction in feature space for every class of a batch, and the class
that each pixel is taken for. Nothing here has a gradient.

PPC (Du, Fu, Liu, Wang, "Weakly Supervised Semantic Segmentation by Pixel-to-Prototype
Contrast", CVPR 2022). `m` counts the classes and the background, which comes first.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.directions import unit_vectors
from hfpl_jax.losses.largest import shares_of_largest
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, Int, Num, typed

EPSILON = 1e-5

PLACES = 8
"""A prototype is made of as many pixels of the batch as an eighth of one image has."""


@typed
def prototype_scores(
    corrected: Float[Array, "b h w m"], *, background: float | int = 0.2
) -> Float[jax.Array, "b h w m"]:
    """How well each pixel stands for each class, whether the image has it or not.

      a = relu(corrected);  low, high = min a, max a over the pixels of an image
      s = (a - low - 1e-5) / (high - low + 1e-5);  s_0 = background

    A flat map becomes -1 everywhere.

    Args:
      corrected: maps after the pixel correlation module.
      background: the background's score in every pixel.

    Source: PPC, contrast_train.py of its program. There the pixels next to the minimum
    are set to 0 before they are stretched, which no loss of it sees.
    """
    activation = jax.nn.relu(jax.lax.stop_gradient(at_least_float32(corrected)))
    low = jnp.min(activation, axis=(1, 2), keepdims=True)
    high = jnp.max(activation, axis=(1, 2), keepdims=True)
    scores = (activation - low - EPSILON) / (high - low + EPSILON)
    return scores.at[..., 0].set(background)


@typed
def pixel_classes(
    scores: Float[Array, "b h w m"], labels: Num[Array, "b c"] | Bool[Array, "b c"]
) -> Int[jax.Array, "b h w"]:
    """The class of the largest score among those in the image and the background, the
    first of equal ones; 0 is the background.

      y_p = argmax_c labels_c s_pc, with labels_0 = 1

    Args:
      scores: of `prototype_scores`, of m = c + 1 classes.
      labels: image labels in {0, 1}.

    Source: PPC, its pseudo labels.
    """
    present = jnp.pad(jnp.asarray(labels, scores.dtype), ((0, 0), (1, 0)), constant_values=1.0)
    return jnp.argmax(scores * present[:, None, None, :], axis=-1)


@typed
def class_prototypes(
    features: Float[Array, "b h w k"],
    scores: Float[Array, "b h w m"],
    top_indices: Int[Array, "m s"] | None = None,
) -> Float[jax.Array, "m k"]:
    """The direction of the features at the pixels of the whole batch that score highest
    for a class.

      P_c = sum_p s_pc g_p / sum_p s_pc, over the h w // 8 largest s_pc, at least one
      P_c <- P_c / max(|P_c|, 1e-12)

    An absent class has a prototype too, made where its map peaks. Where the last places
    are tied, as all are for the background, which has one score, the tied pixels share
    them. The published program leaves the choice to its top-k.

    Args:
      features: g, not normalised.
      scores: s, of `prototype_scores`.
      top_indices: flat pixels of the batch (image, row, column) to take in place of the
        highest.

    Source: PPC, prototype estimation; its program, contrast_train.py.
    """
    b, h, w, m = scores.shape
    by_class = jax.lax.stop_gradient(at_least_float32(scores)).reshape(b * h * w, m).T
    if top_indices is None:
        chosen = shares_of_largest(by_class, max(1, h * w // PLACES))
    else:
        chosen = jnp.zeros_like(by_class).at[jnp.arange(m)[:, None], top_indices].add(1.0)
    weights = chosen * by_class
    # Only the direction counts. Dividing by a sum of scores of both signs may be dividing
    # by 0, and turns a negative one's direction round.
    weights *= jnp.where(jnp.sum(weights, axis=1, keepdims=True) < 0.0, -1.0, 1.0)
    flat = jax.lax.stop_gradient(at_least_float32(features)).reshape(b * h * w, -1)
    summed = jnp.matmul(weights, flat, precision="highest")
    return unit_vectors(summed)
