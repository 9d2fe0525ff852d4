"""The head of object-contextual representations (OCR): a pixel is scored by what it
looks like and by the soft regions of the image that resemble it.

Source: Yuan, Chen, Wang, "Object-Contextual Representations for Semantic Segmentation",
ECCV 2020; lib/models/seg_hrnet_ocr.py of the program HRNet-Semantic-Segmentation, its
attention at scale 1. Its paper's body was not within reach.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.models.convolution import ConvBatchNorm, inside, torch_uniform
from hfpl_jax.shapes import Array, Float, Int, typed


class Scores(NamedTuple):
    """What a head gives that is also taught by the way: the logits, and those of an
    `auxiliary` classifier, or None.
    """

    logits: Float[jax.Array, "b h w k"]
    auxiliary: Float[jax.Array, "b h w k"] | None


@typed
def soft_regions(
    features: Float[Array, "b h w k"],
    coarse: Float[Array, "b h w c"],
    sizes: Int[Array, "b 2"] | None = None,
) -> Float[jax.Array, "b c k"]:
    """R_c = sum_i X_i exp(S_ic) / sum_j exp(S_jc): for each class the mean feature of an
    image's pixels, each counting by its coarse score. Computed in float32.

    Args:
      features: X.
      coarse: S, logits of the classes; they get a gradient.
      sizes: rows and columns of each image in its array, whose other pixels count for
        nothing; None for all.
    """
    b, h, w, k = features.shape
    coarse = jnp.asarray(coarse, jnp.float32)
    if sizes is not None:
        coarse = jnp.where(inside(sizes, h, w)[..., None], coarse, jnp.finfo(jnp.float32).min)
    shares = jax.nn.softmax(coarse.reshape(b, h * w, -1), axis=1)
    pixels = jnp.asarray(features, jnp.float32).reshape(b, h * w, k)
    return jnp.einsum("bnc,bnk->bck", shares, pixels)


class ObjectContext(nn.Module):
    """From pixels X and regions R to the features that are classified:

    context_i = up(sum_c softmax_c(query(X_i) . key(R_c) / sqrt(keys)) value(R_c))
    relu(fuse([context_i, X_i]))

    query and key are two 1x1 convolutions each, the others one; all with batch
    normalisation and ReLU. The statistics of regions are those of the batch's images
    times classes.
    """

    channels: int
    keys: int
    momentum: float

    @nn.compact
    def __call__(self, x, regions, use_running_average):
        def convolved(name, channels, x):
            shared = {"momentum": self.momentum, "dtype": x.dtype, "name": name}
            return nn.relu(ConvBatchNorm(channels, 1, **shared)(x, None, use_running_average)[0])

        regions = regions[:, :, None].astype(x.dtype)  # [b, classes, 1, channels]
        query = convolved("query2", self.keys, convolved("query1", self.keys, x))
        key = convolved("key2", self.keys, convolved("key1", self.keys, regions))[:, :, 0]
        value = convolved("value", self.keys, regions)[:, :, 0]
        alike = jnp.einsum("bhwk,bck->bhwc", query, key, preferred_element_type=jnp.float32)
        attention = nn.softmax(alike / math.sqrt(self.keys), axis=-1).astype(x.dtype)
        context = convolved("up", self.channels, jnp.einsum("bhwc,bck->bhwk", attention, value))
        return convolved("fuse", self.channels, jnp.concatenate([context, x], axis=-1))


class ObjectContextualHead(nn.Module):
    """OCR: a coarse classifier divides the image into soft regions, one a class, which
    tell every pixel of the object it lies in.

    coarse = 1x1 classifier(relu(1x1 convolution)), X = relu(3x3 convolution), and the
    logits are those of a 1x1 classifier of `ObjectContext`, in training behind dropout
    of whole channels. The regions' gradient teaches the coarse classifier too.

    The published convolutions before a batch normalisation have a bias here and there:
    it is a part of the stored mean, so that there is none of its own.

    Attributes:
      momentum: share of a batch in the running statistics.
      channels, keys: width of the features, and of what pixels and regions compare.
      dropout: share of channels.
    """

    num_classes: int
    momentum: float
    channels: int = 512
    keys: int = 256
    dropout: float = 0.05

    @nn.compact
    def __call__(self, x, sizes, use_running_average, deterministic):
        def convolved(name, channels, kernel_size):
            shared = {"momentum": self.momentum, "dtype": x.dtype, "name": name}
            convolution = ConvBatchNorm(channels, kernel_size, **shared)
            return nn.relu(convolution(x, sizes, use_running_average)[0])

        def classifier(name, x):
            dense = nn.Dense(self.num_classes, kernel_init=torch_uniform, name=name)
            return dense(x.astype(jnp.float32))

        coarse = classifier("coarse", convolved("coarse1", x.shape[-1], 1))
        pixels = convolved("pixels", self.channels, 3)
        regions = soft_regions(pixels, coarse, sizes)
        context = ObjectContext(self.channels, self.keys, self.momentum, name="context")
        found = context(pixels, regions, use_running_average).astype(jnp.float32)
        drop = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=deterministic)
        return Scores(classifier("classifier", drop(found)), coarse)
