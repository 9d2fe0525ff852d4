"""ResNet38-d, the wide pre-activation network of SEAM and of its affinity and final
stages, at output stride 8.

Source: Wu, Shen and van den Hengel, "Wider or Deeper: Revisiting the ResNet Model for
Visual Recognition", Pattern Recognition 2019 (their model A1, dilated); SEAM, PSA and
HFPL, network/resnet38d.py. Names of blocks and layers are the original's.
"""

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from hfpl_jax.models.backbones.backbone import BackboneSettings
from hfpl_jax.models.convolution import BatchNorm, Convolution
from hfpl_jax.models.suppression import rectified
from hfpl_jax.models.weights.names import Layer, Names
from hfpl_jax.setting import at_least, setting
from hfpl_jax.shapes import Array, Float, Int, typed


@dataclasses.dataclass(frozen=True)
class ResNet38Settings(BackboneSettings):
    """The wide ResNet-38 of the published program, at output stride 8."""

    path: ClassVar[str] = "model.resnet38"
    in_files: ClassVar[Mapping[str, Any]] = MappingProxyType({"width": 64})

    width: int = setting(
        64,
        "channels of the first convolution; less for a small network from random weights",
        at_least(1),
    )


def _recognise(keys: Collection[str]) -> str:
    last = ("b7.conv_branch1.weight", "res7a_branch1_weight")
    return "resnet38" if any(key.endswith(last) for key in keys) else ""


TORCH = Names(
    {
        r"conv1a|bn7": Layer(r"\g<0>"),
        r"(b\d(?:_\d)?)/((?:conv|bn)_branch\w+)": Layer(r"\1.\2"),
    },
    ignored=r"(fc8|f8_[345]|f9)\.weight|.*\.num_batches_tracked",
    recognise=_recognise,
)
"""The PyTorch programs of PSA, SEAM and HFPL. Ignored: the layers of their heads."""

MXNET = Names(
    {
        r"conv1a|bn7": Layer(r"\g<0>"),
        r"b(\d)/conv_(branch\w+)": Layer(r"res\1a_\2"),
        r"b(\d)_(\d)/conv_(branch\w+)": Layer(r"res\1b\2_\3"),
        r"b(\d)/bn_(branch\w+)": Layer(r"bn\1a_\2"),
        r"b(\d)_(\d)/bn_(branch\w+)": Layer(r"bn\1b\2_\3"),
    },
    {
        "kernel": "arg:{}_weight",
        "scale": "arg:{}_gamma",
        "bias": "arg:{}_beta",
        "mean": "aux:{}_moving_mean",
        "var": "aux:{}_moving_var",
    },
    ignored=r".*",
    recognise=_recognise,
)
"""The ImageNet weights that all of them start from, as MXNet saved them: with the
classifier and whatever else a checkpoint of MXNet carries, which is ignored."""


class WideBlock(nn.Module):
    """`branch2b1(relu(bn(branch2a(t)))) + shortcut`, t = relu(bn(x)): two 3x3
    convolutions.

    The shortcut is x where shape and stride allow it, else a 1x1 convolution of t (not
    of x). Returns the sum and t.
    """

    middle: int
    features: int
    stride: int
    dilations: tuple[int, int]  # of the two convolutions
    shared: Mapping[str, Any]  # dtypes, of every layer
    momentum: float
    suppression: str = ""  # in place of the ReLU between the two convolutions

    @nn.compact
    def __call__(self, x, sizes, use_running_average, deterministic):
        del deterministic  # the dropout sits in the bottleneck blocks
        first, second = self.dilations
        t = nn.relu(
            BatchNorm(self.momentum, **self.shared, name="bn_branch2a")(x, use_running_average)
        )
        y, y_sizes = Convolution(
            self.middle, 3, self.stride, first, **self.shared, name="conv_branch2a"
        )(t, sizes)
        y = rectified(
            BatchNorm(self.momentum, **self.shared, name="bn_branch2b1")(y, use_running_average),
            y_sizes,
            self.suppression,
        )
        y, _ = Convolution(self.features, 3, 1, second, **self.shared, name="conv_branch2b1")(
            y, y_sizes
        )
        if x.shape != y.shape:
            x, _ = Convolution(self.features, 1, self.stride, **self.shared, name="conv_branch1")(
                t, sizes
            )
        return x + y, y_sizes, t


class WideBottleneck(nn.Module):
    """`branch2b2(branch2b1(branch2a(t))) + branch1(t)`, t = relu(bn(x)): 1x1 - 3x3 -
    1x1, the channels rising by halves.

    Batch normalisation, ReLU and channel dropout (a whole map is zeroed) come before
    the second and third convolution. Returns the sum and t.
    """

    features: int
    dilation: int
    dropout: float
    shared: Mapping[str, Any]
    momentum: float
    suppression: str = ""  # in place of the ReLU behind the 3x3 convolution

    @nn.compact
    def __call__(self, x, sizes, use_running_average, deterministic):
        def drop(y):
            return nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=deterministic)(y)

        t = nn.relu(
            BatchNorm(self.momentum, **self.shared, name="bn_branch2a")(x, use_running_average)
        )
        y, _ = Convolution(self.features // 4, 1, **self.shared, name="conv_branch2a")(t, sizes)
        y = drop(
            nn.relu(
                BatchNorm(self.momentum, **self.shared, name="bn_branch2b1")(y, use_running_average)
            )
        )
        y, _ = Convolution(
            self.features // 2, 3, 1, self.dilation, **self.shared, name="conv_branch2b1"
        )(y, sizes)
        y = drop(
            rectified(
                BatchNorm(self.momentum, **self.shared, name="bn_branch2b2")(
                    y, use_running_average
                ),
                sizes,
                self.suppression,
            )
        )
        y, _ = Convolution(self.features, 1, **self.shared, name="conv_branch2b2")(y, sizes)
        shortcut, _ = Convolution(self.features, 1, **self.shared, name="conv_branch1")(t, sizes)
        return shortcut + y, sizes, t


class ResNet38(nn.Module):
    """Backbone: normalised images in, `{"conv4", "conv5", "conv6"}` out, all at stride
    8, channels last.

    conv4 = relu(bn(x)) as b5 computes it, conv5 as b6 does, conv6 = relu(bn7(x)) behind
    the last block.

    Attributes:
      width: channels of the first convolution; 64 in the network with weights. conv4
        has 8 times as many, conv5 16, conv6 64.
      dtype: computation and features.
      param_dtype: parameters. The statistics of batch normalisation are always float32.
      batch_norm_momentum: share of a batch in the running statistics, as torch counts
        it; 0.0003 in the published final stage.
      suppression: "" for plain ReLUs; else what stands inside the blocks, behind a 3x3
        convolution, in the ReLU's place, see `models.suppression.rectified`.
    """

    width: int = 64
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    batch_norm_momentum: float = 0.1
    suppression: str = ""
    head_feature: ClassVar[str] = "conv6"
    middle_features: ClassVar[tuple[str, str]] = ("conv4", "conv5")
    stages: ClassVar[tuple[str, ...]] = (
        "conv1a",
        *(rf"b{index}(_\d)?" for index in (2, 3, 4, 5)),
        "b6",
        "b7|bn7",
    )
    weight_names: ClassVar[tuple[Names, ...]] = (TORCH, MXNET)
    output_stride: ClassVar[int] = 8
    strides: ClassVar[Mapping[str, int]] = MappingProxyType({"conv4": 8, "conv5": 8, "conv6": 8})

    @property
    def blocks(self) -> dict[str, nn.Module]:
        """Every block by name, in order. The first of b2, b3 and b4 carries the stride;
        from b5 on, dilation replaces it.
        """
        width, common = (
            self.width,
            (
                {"dtype": self.dtype, "param_dtype": self.param_dtype},
                self.batch_norm_momentum,
                self.suppression,
            ),
        )
        blocks = {}
        for index, (count, factor) in enumerate(((3, 2), (3, 4), (6, 8)), start=2):
            for number in range(count):
                stride, name = (2, f"b{index}") if number == 0 else (1, f"b{index}_{number}")
                blocks[name] = WideBlock(
                    factor * width, factor * width, stride, (1, 1), *common, name=name
                )
        for number, name in enumerate(("b5", "b5_1", "b5_2")):
            blocks[name] = WideBlock(
                8 * width, 16 * width, 1, (1 if number == 0 else 2, 2), *common, name=name
            )
        blocks["b6"] = WideBottleneck(32 * width, 4, 0.3, *common, name="b6")
        blocks["b7"] = WideBottleneck(64 * width, 4, 0.5, *common, name="b7")
        return blocks

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
            and right. At the positions an image has, `ceil(size / 8)` of them, the
            features are those of the image without its padding, whatever the padding
            holds; elsewhere they mean nothing. None: every image fills its array.
          use_running_average: batch normalisation by the stored statistics (frozen) or
            by those of this batch, which then updates the collection `batch_stats`
            (make it mutable).
          deterministic: False drops channels in b6 (share 0.3) and b7 (0.5); give
            `rngs={"dropout": key}`.

        Raises:
          ValueError: `sizes` together with statistics of the batch, which would count
            the padding.
        """
        if sizes is not None and not use_running_average:
            raise ValueError(
                "Padded images (sizes=...) need use_running_average=True: statistics of the batch "
                "would count the padding."
            )
        shared = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x, sizes = Convolution(self.width, 3, **shared, name="conv1a")(
            images.astype(self.dtype), sizes
        )
        normalised = {}
        for name, block in self.blocks.items():
            x, sizes, normalised[name] = block(x, sizes, use_running_average, deterministic)
        x = nn.relu(
            BatchNorm(self.batch_norm_momentum, **shared, name="bn7")(x, use_running_average)
        )
        return {"conv4": normalised["b5"], "conv5": normalised["b6"], "conv6": x}
