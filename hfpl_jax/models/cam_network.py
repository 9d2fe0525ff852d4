"""A backbone and a 1x1 convolution without bias: its output, before pooling, is the
class activation map.

Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR
2016, in the fully convolutional form of Wang et al., "Self-supervised Equivariant
Attention Mechanism", CVPR 2020.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from hfpl_jax.shapes import Array, Float, Int, typed

xavier_uniform = nn.initializers.xavier_uniform()
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class CamOutput(NamedTuple):
    """`logits` [b, h, w, c], float32, one channel a foreground class; `features`, the
    backbone's, by name.
    """

    logits: jax.Array
    features: dict[str, Array]


def drop_channels(feature: Array, dropout: float, train: bool) -> Array:
    """The feature in float32, in training after channel dropout."""
    drop = nn.Dropout(dropout, broadcast_dims=(1, 2), deterministic=not train)
    return drop(feature.astype(jnp.float32))


class ClassProduct(nn.Module):
    """`feature @ W`, a module so that its backward pass can be exchanged
    (inference/peak_responses.py).
    """

    def __call__(self, feature: Array, kernel: Array) -> Array:
        return jnp.einsum("bhwk,kc->bhwc", feature, kernel)


def class_scores(
    network: nn.Module,
    feature: Array,
    kernel_init: Initializer = xavier_uniform,
    *,
    with_bias: bool = False,
) -> Array:
    """`feature @ W`, W being `network`'s own parameter `head/kernel`; or that plus
    `head/bias`, which starts at 0.
    """
    shape = (feature.shape[-1], network.num_classes)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        bias = {"bias": jnp.zeros(shape[1:])} if with_bias else {}
        return {"kernel": kernel_init(key, shape), **bias}

    head = network.param("head", init)
    scores = ClassProduct(name="class_product")(feature, head["kernel"])
    return scores + head["bias"] if with_bias else scores


class CamNetwork(nn.Module):
    """`logits = features @ W`, one score a position and class.

    Attributes:
      backbone: a `Backbone`, for instance `ResNet(depth=50, output_stride=16)`.
      num_classes: foreground classes; there is no channel for the background.
      frozen_batch_norm: normalise by the stored statistics in training too. Set it to
        False to train from scratch.
      dropout: in training, the share of feature channels that are zeroed before W.
      kernel_init: of W (`params/head/kernel`, [k, c]).
      with_bias: whether `params/head/bias` is added, as in PRM.
    """

    backbone: nn.Module
    num_classes: int
    frozen_batch_norm: bool = True
    dropout: float = 0.0
    kernel_init: Initializer = xavier_uniform
    with_bias: bool = False

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
    ) -> CamOutput:
        """Scores before any activation.

        Args:
          images: RGB, normalised with the mean and standard deviation the weights were
            trained with.
          sizes: height and width of each image in a batch padded at the bottom and
            right. The first `ceil(size / output_stride)` rows and columns of the logits
            are then those of the image without its padding.
          train: dropout is active (`rngs={"dropout": key}`) and, with
            `frozen_batch_norm=False`, the batch's statistics normalise it and update
            `batch_stats`.
        """
        features = self.backbone(
            images,
            sizes,
            use_running_average=self.frozen_batch_norm or not train,
            deterministic=not train,
        )
        feature = drop_channels(features[self.backbone.head_feature], self.dropout, train)
        logits = class_scores(self, feature, self.kernel_init, with_bias=self.with_bias)
        return CamOutput(logits, features)
