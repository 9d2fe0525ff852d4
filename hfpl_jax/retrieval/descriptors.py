"""A photograph as one vector, from the feature maps of a classifier that never saw it:
few channels say where parts of things are, and the features are added up there.

Source: Xu, Shi, Qi, Wang, Xiao, "Unsupervised Part-based Weighting Aggregation of Deep
Convolutional Features for Image Retrieval" (PWA), AAAI 2018; PWA.py and
select_filters.py of its program. The same authors' "Unsupervised Semantic-based
Aggregation of Deep Convolutional Features" (SBA), TIP 2019, is read as PWA here: its
abstract says the same of "semantic" in place of "part" detectors, and no program of it
was found. That is our reading and not parity with SBA.
"""

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.shapes import Array, Bool, Float, Int, typed

PARTS = 25
"""N of PWA: the channels that detect parts."""


@typed
def channel_sums(
    features: Float[Array, "b h w k"], valid: Bool[Array, "b h w"]
) -> Float[jax.Array, "b k"]:
    """Of each channel, over the positions that a photograph has."""
    return jnp.einsum("bhwk,bhw->bk", features, valid.astype(features.dtype), precision="highest")


@typed
def part_channels(sums: Float[np.ndarray, "n k"], count: int = PARTS) -> Int[np.ndarray, "p"]:
    """The channels whose sums vary most over photographs, in ascending order; all of
    them where there are fewer than `count`, of equal ones the first.

      v_k = sum_i (s_ik - mean_i s_ik)^2
    """
    exact = sums.astype(np.float64)
    variance = np.sum(np.square(exact - exact.mean(axis=0)), axis=0)
    return np.sort(np.argsort(-variance, kind="stable")[:count])


@typed
def proposal_weights(maps: Float[Array, "b h w p"]) -> Float[jax.Array, "b h w p"]:
    """Where each part is likely to be, of maps that are not negative:

      w_n = (f_n / (sum_xy f_n^alpha)^(1/alpha))^(1/beta)   with alpha = beta = 2

    A map of zeros stays as it is. Positions without a photograph hold zeros.
    """
    length = jnp.sqrt(jnp.sum(jnp.square(maps), axis=(1, 2), keepdims=True))
    return jnp.sqrt(maps / jnp.where(length > 0.0, length, 1.0))


@typed
def part_descriptors(
    features: Float[Array, "b h w k"], channels: Int[Array, "p"], valid: Bool[Array, "b h w"]
) -> Float[jax.Array, "b d"]:
    """The features of each part, psi_n = sum_xy w_n f, one behind another in the order
    of `channels`, d = p k numbers of length 1 together; zeros for features of zeros.

    Args:
      features: of the last convolution behind its ReLU, so that none is negative.
      channels: of `part_channels`.
      valid: the positions that a photograph has.
    """
    features = features * valid[..., None]
    weights = proposal_weights(jnp.take(features, channels, axis=-1))
    parts = jnp.einsum("bhwp,bhwk->bpk", weights, features, precision="highest")
    return unit_length(parts.reshape(len(features), -1))


@typed
def unit_length(vectors: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows divided by their Euclidean length; a row of zeros stays as it is."""
    array = np if isinstance(vectors, np.ndarray) else jnp
    length = array.sqrt(array.sum(array.square(vectors), axis=-1, keepdims=True))
    return vectors / array.where(length > 0.0, length, 1.0)
