"""VGG16 at output stride 8 ("D1"): thirteen 3x3 convolutions, as DRS and Group-WSSS
take them.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, dilated; models/vgg.py of DRS.
"""

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from hfpl_jax.models.backbones.backbone import BackboneSettings
from hfpl_jax.models.convolution import BiasedConvolution, halve, mask_padding
from hfpl_jax.models.suppression import rectified
from hfpl_jax.models.weights.names import DENSE, Layer, Names
from hfpl_jax.setting import at_least, setting
from hfpl_jax.shapes import Array, Float, Int, typed

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""In block 1, ..., 5."""
WIDTHS = (1, 2, 4, 8, 8)
"""Channels of a block over those of the first."""


@dataclasses.dataclass(frozen=True)
class Vgg16Settings(BackboneSettings):
    """VGG16, at output stride 8."""

    path: ClassVar[str] = "model.vgg16"
    in_files: ClassVar[Mapping[str, Any]] = MappingProxyType({"width": 64})

    width: int = setting(
        64,
        "channels of the first convolution; less for a small network from random weights",
        at_least(1),
    )


def _recognise(keys: Collection[str]) -> str:
    return "vgg16" if {"features.28.weight", "features.26.weight"} <= set(keys) else ""


def _places() -> dict[str, Layer]:
    """Our convolutions -> torchvision's, which counts ReLUs and pools as well."""
    names, place = {}, 0
    for block, count in enumerate(CONVOLUTIONS, start=1):
        for number in range(1, count + 1):
            names[f"block{block}/conv{number}"] = Layer(f"features.{place}")
            place += 2
        place += 1
    return names


TORCHVISION = Names(
    {
        **_places(),
        r"block(\d)/suppression(\d)": Layer(r"layer\1_relu\2.fc.0", kernel=DENSE),
    },
    ignored=r"(classifier|pre_logits|head|extra_\w+|layer\d_relu\d)\..*",
    recognise=_recognise,
)
"""torchvision's and timm's vgg16, and DRS's. Ignored: their classifiers and, in a network
without it, the suppression."""


class VggBlock(nn.Module):
    """`count` times relu(conv(x)), 3x3, or what takes the ReLU's place."""

    count: int
    features: int
    dilation: int
    suppression: str
    shared: Mapping[str, Any]  # dtypes of every layer

    @nn.compact
    def __call__(self, x, sizes):
        for number in range(1, self.count + 1):
            convolution = BiasedConvolution(
                self.features, 3, dilation=self.dilation, **self.shared, name=f"conv{number}"
            )
            x = rectified(convolution(x, sizes), sizes, self.suppression, number)
        return x


class Vgg16(nn.Module):
    """Backbone: normalised images in, `{"block1", ..., "block5"}` out, each channels
    last, before its pool; block4 is pooled without a stride, and block5 dilated by 2
    instead.

    A pool of stride 2 has `ceil(size / 2)` positions; of an even size, as published,
    those are torch's `size / 2`.

    Attributes:
      width: channels of block1; 64 in the network with weights, 512 in the last one.
      suppression: "" for plain ReLUs; see `models.suppression.rectified`.
      dtype: computation and features.
      param_dtype: parameters.
    """

    width: int = 64
    suppression: str = ""
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    head_feature: ClassVar[str] = "block5"
    middle_features: ClassVar[tuple[str, str]] = ("block3", "block4")
    stages: ClassVar[tuple[str, ...]] = ("block1", "block2", "block3", "block4", "block5")
    weight_names: ClassVar[tuple[Names, ...]] = (TORCHVISION,)
    output_stride: ClassVar[int] = 8
    strides: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"block1": 1, "block2": 2, "block3": 4, "block4": 8, "block5": 8}
    )

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each feature."""
        return {name: width * self.width for name, width in zip(self.stages, WIDTHS, strict=True)}

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        use_running_average: bool = True,
        deterministic: bool = True,
    ) -> dict[str, Float[Array, "b _ _ _"]]:
        """Features of images.

        Args:
          images: RGB, normalised with the mean and standard deviation the weights were
            trained with.
          sizes: height and width of each image where the batch is padded at the bottom
            and right. At the positions an image has, `ceil(size / stride)` of them, the
            features are those of the image without its padding, whatever the padding
            holds; elsewhere they mean nothing. None: every image fills its array.
          use_running_average, deterministic: every backbone takes them; a VGG has
            neither batch normalisation nor, up to its features, dropout.
        """
        del use_running_average, deterministic
        shared = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x, features = images.astype(self.dtype), {}
        for index, (name, channels) in enumerate(self.channels.items()):
            if index:
                x, sizes = _pool(x, sizes, stride=2 if index < 4 else 1)
            dilation = 2 if name == self.head_feature else 1
            block = VggBlock(
                CONVOLUTIONS[index], channels, dilation, self.suppression, shared, name=name
            )
            features[name] = x = block(x, sizes)
        return features


def _pool(x, sizes, *, stride):
    """Maxima of values that are not negative: 2x2 of stride 2, or 3x3 of stride 1."""
    x = mask_padding(x, sizes)
    if stride == 1:
        return nn.max_pool(x, (3, 3), padding=((1, 1), (1, 1))), sizes
    odd = [(0, side % 2) for side in x.shape[1:3]]
    return nn.max_pool(x, (2, 2), strides=(2, 2), padding=odd), halve(sizes, 2)
