"""Image-specific prototypes: the mean feature of each class's seeds in one image, the
map of what resembles it, and the loss by which that map and the CAM have to agree.

Chen et al., "Self-supervised Image-specific Prototype Exploration for Weakly Supervised
Semantic Segmentation" (SIPE), CVPR 2022, sections 3.2 to 3.4.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.directions import unit_vectors
from hfpl_jax.losses.equivariance import equivariance_loss
from hfpl_jax.losses.scores import add_background
from hfpl_jax.losses.structure_seeds import structure_seeds
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, Num, typed

EPSILON = 1e-5
SHORTEST = 1e-8
"""Norm of a vector that has no direction: it resembles nothing and gets no gradient."""


@typed
def presence(
    labels: Num[Array, "b c"] | Bool[Array, "b c"], valid: Bool[Array, "b h w"]
) -> Float[jax.Array, "b h w c+1"]:
    """1 where a class can be: the background and the classes of the image labels,
    outside the padding; else 0.
    """
    there = jnp.pad(jnp.asarray(labels, jnp.float32), ((0, 0), (1, 0)), constant_values=1.0)
    return jnp.asarray(valid, jnp.float32)[..., None] * there[:, None, None]


def _by_peak(maps: jax.Array) -> jax.Array:
    """Each class's map, at least 0, divided by its maximum plus 1e-5."""
    return maps / (jnp.max(maps, axis=(1, 2), keepdims=True) + EPSILON)


@typed
def attention(logits: Float[Array, "b h w c"]) -> Float[jax.Array, "b h w c+1"]:
    """The positive part of each class's map divided by its maximum, with their
    background in front.

      a = relu(z);  s_c = a_c / (max_p a_c + 1e-5);  s_0 = 1 - max_c s_c

    The background is that of all classes, whether the image shows them or not. The
    gradient flows through the maxima.
    """
    scores = add_background(_by_peak(jax.nn.relu(at_least_float32(logits))))
    return jnp.asarray(scores)


@typed
def seed_prototypes(
    seeds: Float[Array, "b h w n"], features: Float[Array, "b h w k"]
) -> Float[jax.Array, "b n k"]:
    """P_c = 1/(h w) sum_i seed_ic f_i. A class without seeds has 0."""
    h, w = seeds.shape[1:3]
    features = at_least_float32(features)
    return jnp.einsum("bhwn,bhwk->bnk", seeds, features, precision="highest") / (h * w)


@typed
def image_specific_cam(
    features: Float[Array, "b h w k"], prototypes: Float[Array, "b n k"]
) -> Float[jax.Array, "b h w n"]:
    """relu(cos(f_i, P_c)), the cosine of each pixel's feature and each prototype; 0
    where one of the two is 0.
    """
    pixels, classes = (unit_vectors(x, shortest=SHORTEST) for x in (features, prototypes))
    return jax.nn.relu(jnp.einsum("bhwk,bnk->bhwn", pixels, classes, precision="highest"))


@typed
def explored_cam(
    compared: Float[Array, "b h w k"],
    scores: Float[Array, "b h w n"],
    features: Float[Array, "b h w m"],
    present: Float[Array, "b h w n"],
) -> Float[jax.Array, "b h w n"]:
    """From score maps to image-specific CAMs: seeds where the class is `present`, their
    prototypes, and the map of what resembles these.

    Args:
      compared: what the seeds are found by, see `structure_seeds`.
      scores: of `attention`, 0 where the class is not present.
      features: what prototypes are made of. Only they get a gradient.
      present: 1 or 0, of `presence`.
    """
    seeds = structure_seeds(compared, scores) * jax.lax.stop_gradient(present)
    return image_specific_cam(features, seed_prototypes(seeds, features))


@typed
def general_specific_loss(
    scores: Float[Array, "b h w n"], maps: Float[Array, "b h w n"]
) -> Float[jax.Array, ""]:
    """General-specific consistency (GSC) of CAMs and image-specific CAMs.

      L_GSC = mean |s - m / (max_p m + 1e-5)|   over images, pixels and all n classes

    The background is one of them, and absent classes and padding count. The gradient
    flows through both maps and through the maximum.

    Args:
      scores: s, of `attention`, 0 where the class is not present.
      maps: m, of `image_specific_cam`.

    Source: SIPE, section 3.4; its program, train_resnet50_SIPE.py, loss_gsc.
    """
    return equivariance_loss(scores, _by_peak(at_least_float32(maps)))
