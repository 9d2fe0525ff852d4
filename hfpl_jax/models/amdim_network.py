"""A backbone as AMDIM trains one: features of the whole image, of 5x5 and of 7x7 parts,
made comparable by two heads.

Source: Bachman, Hjelm, Buchwalter, "Learning Representations by Maximizing Mutual
Information Across Views", NeurIPS 2019; model.py of its program. Its heads, on any of
our convolutional backbones in place of its own encoder: that is our reading.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.models.convolution import BatchNorm, torch_uniform
from hfpl_jax.shapes import Array, Float, Int, typed


class AmdimOutput(NamedTuple):
    """Float32: `whole` [b, k], `five` [b, 5, 5, k], `seven` [b, 7, 7, k]."""

    whole: jax.Array
    five: jax.Array
    seven: jax.Array


@typed
def adaptive_pool(feature: Float[Array, "b h w k"], side: int) -> Float[jax.Array, "b _ _ k"]:
    """Means of `side` by `side` parts: part i of a side of n has the positions from
    floor(i n / side) to ceil((i + 1) n / side), as torch's; parts may overlap.
    """
    rows, columns = (_parts(length, side) for length in feature.shape[1:3])
    pooled = jnp.einsum(
        "ih,bhwk,jw->bijk", rows, feature.astype(jnp.float32), columns, precision="highest"
    )
    return pooled.astype(feature.dtype)


def _parts(length: int, side: int) -> np.ndarray:
    """[side, length], each row the weights of a part's mean."""
    weights = np.zeros((side, length), np.float32)
    for part in range(side):
        first, end = part * length // side, -(-(part + 1) * length // side)
        weights[part, first:end] = 1.0 / (end - first)
    return weights


def _nearly_identity(key, shape, dtype=jnp.float32):
    """Uniform up to 0.01, with ones on the diagonal."""
    drawn = jax.random.uniform(key, shape, dtype, -0.01, 0.01)
    return jnp.where(jnp.eye(*shape, dtype=bool), jnp.ones((), dtype), drawn)


class ComparableHead(nn.Module):
    """`BatchNorm(W2 relu(W1 x) + W x + b)` at every position; at the start `W2` is 0 and
    `W` nearly the identity.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        def dense(name, kernel_init, use_bias=False):
            return nn.Dense(
                self.channels, use_bias, dtype=x.dtype, kernel_init=kernel_init, name=name
            )

        branch = nn.relu(dense("first", torch_uniform)(x))
        branch = dense("second", nn.initializers.zeros)(branch)
        shortcut = dense("shortcut", _nearly_identity, use_bias=True)(x)
        return BatchNorm(name="norm")(branch + shortcut, use_running_average)


class AmdimNetwork(nn.Module):
    """What is learnt from photographs without labels.

    `seven` are 7x7 means of the backbone's last middle feature behind a head (of a
    ResNet conv4's), `five` 5x5 means of its last feature (conv5's) behind another,
    `whole` the mean of the last feature, normalised.

    Attributes:
      backbone: a `Backbone` of convolutions.
    """

    backbone: nn.Module

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
    ) -> AmdimOutput:
        """Features of normalised images without padding.

        Args:
          images: RGB.
          sizes: None, as every image fills its array.
          train: the statistics of the batch normalise it and update `batch_stats`.
        """
        assert sizes is None
        running = not train
        features = self.backbone(images, use_running_average=running, deterministic=running)
        last = features[self.backbone.head_feature]
        middle = features[self.backbone.middle_features[-1]]
        channels = last.shape[-1]
        mean = jnp.mean(last.astype(jnp.float32), axis=(1, 2), keepdims=True)
        return AmdimOutput(
            BatchNorm(name="norm")(mean, running)[:, 0, 0],
            ComparableHead(channels, name="five")(adaptive_pool(last, 5), running),
            ComparableHead(channels, name="seven")(adaptive_pool(middle, 7), running),
        )
