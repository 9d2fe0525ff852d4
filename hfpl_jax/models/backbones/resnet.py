"""ResNet-18/34/50/101 with named features, an output stride by dilation, and outputs
that do not depend on padding.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; dilation
after Yu, Koltun and Funkhouser, "Dilated Residual Networks", CVPR 2017. Modules know
nothing of training: `apply` is a pure function of variables and images.
"""

import dataclasses
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones.backbone import BackboneSettings
from hfpl_jax.models.backbones.resnet_blocks import BasicBlock, Bottleneck, Stage
from hfpl_jax.models.convolution import ConvBatchNorm, max_pool
from hfpl_jax.models.weights.names import Layer, Names
from hfpl_jax.section import Switch
from hfpl_jax.setting import at_least, one_of, setting
from hfpl_jax.shapes import Array, Float, Int, typed

BLOCKS: Mapping[int, tuple[int, int, int, int]] = MappingProxyType(
    {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
)
"""Residual blocks in layer1 ... layer4, by depth."""

BOTTLENECKS = (50, 101)
"""The depths whose blocks are bottlenecks."""

OUTPUT_STRIDES = (32, 16, 8)
DILATIONS = ("exact", "after_first", "none")
VERSIONS = ("v1", "v1.5")
_WITH_VERSIONS = tuple(f"resnet{depth}" for depth in BOTTLENECKS)


@dataclasses.dataclass(frozen=True)
class ResNetSettings(BackboneSettings):
    """The backbones resnet18, resnet34, resnet50 and resnet101."""

    path: ClassVar[str] = "model.resnet"
    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            ("model.resnet.version",),
            lambda config, _: config.model.backbone in _WITH_VERSIONS,
            f"config.model.backbone = {' or '.join(map(repr, _WITH_VERSIONS))}",
        ),
        Switch(
            ("model.resnet.dilation",),
            lambda config, _: config.model.resnet.output_stride < max(OUTPUT_STRIDES),
            f"config.model.resnet.output_stride below {max(OUTPUT_STRIDES)}",
        ),
    )
    in_files: ClassVar[Mapping[str, Any]] = MappingProxyType({"width": 64})

    output_stride: int = setting(
        16, "pixels between two cells of its maps", one_of(*sorted(OUTPUT_STRIDES))
    )
    version: str = setting(
        "v1.5", "place of a bottleneck's stride; v1.5 is torchvision's", one_of(*VERSIONS)
    )
    dilation: str = setting(
        "exact", "of the stages that lost their stride, see ResNet", one_of(*DILATIONS)
    )
    width: int = setting(
        64, "channels of the stem; less for a small network from random weights", at_least(1)
    )


def _recognise(keys: Collection[str]) -> str:
    """The depth whose blocks a file has."""
    blocks = tuple(
        len({key.split(".")[1] for key in keys if key.startswith(f"layer{i}.")})
        for i in (1, 2, 3, 4)
    )
    bottleneck = "layer1.0.conv3.weight" in keys
    found = [
        f"resnet{depth}"
        for depth, counts in BLOCKS.items()
        if counts == blocks and (depth in BOTTLENECKS) == bottleneck
    ]
    return found[0] if found else ""


TORCHVISION = Names(
    {
        r"stem": Layer("conv1", "bn1"),
        r"layer(\d)/block(\d+)/conv(\d)": Layer(r"layer\1.\2.conv\3", r"layer\1.\2.bn\3"),
        r"layer(\d)/block(\d+)/downsample": Layer(
            r"layer\1.\2.downsample.0", r"layer\1.\2.downsample.1"
        ),
    },
    ignored=r"fc\.(weight|bias)|.*\.num_batches_tracked",
    recognise=_recognise,
)
"""torchvision's ResNet-18 ... 101. timm's resnet18 ... 101 use the same names; its
variants with another stem or shortcut (resnet50d, ...) are other networks. Ignored: the
ImageNet classifier and torch's counters of training batches."""


class ResNet(nn.Module):
    """Backbone: normalised images in, `{"stem", "layer1", ..., "layer4"}` out, each
    channels last with a known stride.

    Where `output_stride` is below 32, the last stages keep their resolution, and
    `dilation` says what their 3x3 convolutions do:

    "exact": the convolution that has lost its stride keeps the dilation of the stage
      before it, every later one doubles it. The features are then those of the
      stride-32 network, computed at every position instead of every second or fourth.
      (For v1.5 this is exactly torchvision's `replace_stride_with_dilation`.)
    "after_first": the whole first block keeps the dilation of the stage before it. The
      same as "exact" for v1.5, not for v1, whose 3x3 comes after the place of the
    stride. "none": no convolution is dilated, as PuzzleCAM and SIPE publish it.

    Attributes:
      depth: 18, 34, 50 or 101.
      output_stride: pixels of the image between two positions of layer4: 32, 16 or 8.
      dilation: one of `DILATIONS`.
      version: "v1" (the stride of a bottleneck in its first 1x1 convolution, as
        published) or "v1.5" (in its 3x3 convolution, as torchvision and timm do). The
        weights of one do not fit the other, though the shapes do. No difference for
        depth 18 and 34.
      width: channels of the stem, and of the 3x3 convolutions of layer1; 64 in every
        ResNet with weights.
      dtype: computation and features.
      param_dtype: parameters. The statistics of batch normalisation are always float32.
      batch_norm_momentum: share of a batch in the running statistics, as torch counts
        it.
      suppression: "" for plain ReLUs; else what stands behind every 3x3 convolution in
        the ReLU's place, see `models.suppression.rectified`.

    Raises:
      InputError: an unknown depth, output stride, dilation or version.
    """

    depth: int = 50
    output_stride: int = 16
    version: str = "v1.5"
    width: int = 64
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    batch_norm_momentum: float = 0.1
    dilation: str = "exact"
    suppression: str = ""
    head_feature: ClassVar[str] = "layer4"
    middle_features: ClassVar[tuple[str, str]] = ("layer2", "layer3")
    stages: ClassVar[tuple[str, ...]] = ("stem", "layer1", "layer2", "layer3", "layer4")
    weight_names: ClassVar[tuple[Names, ...]] = (TORCHVISION,)

    def __post_init__(self):
        for field, allowed in (
            ("depth", tuple(BLOCKS)),
            ("output_stride", OUTPUT_STRIDES),
            ("version", VERSIONS),
            ("dilation", DILATIONS),
        ):
            if getattr(self, field) not in allowed:
                raise InputError(
                    f"ResNet has no {field} {getattr(self, field)!r}; choose one of "
                    f"{', '.join(map(str, allowed))}."
                )
        super().__post_init__()

    @property
    def block(self) -> type[nn.Module]:
        return Bottleneck if self.depth in BOTTLENECKS else BasicBlock

    @property
    def strides(self) -> dict[str, int]:
        """Pixels of the image between two positions of each feature."""
        full = {"stem": 2, "layer1": 4, "layer2": 8, "layer3": 16, "layer4": 32}
        return {name: min(stride, self.output_stride) for name, stride in full.items()}

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
          use_running_average: batch normalisation by the stored statistics (frozen) or
            by those of this batch, which then updates the collection `batch_stats`
            (make it mutable).
          deterministic: every backbone takes it, for its dropout; a ResNet has none.

        Raises:
          ValueError: `sizes` together with statistics of the batch, which would count
            the padding.
        """
        if sizes is not None and not use_running_average:
            raise ValueError(
                "Padded images (sizes=...) need use_running_average=True: statistics of the batch "
                "would count the padding."
            )
        del deterministic  # there is no dropout in a ResNet
        shared = {
            "momentum": self.batch_norm_momentum,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        x, sizes = ConvBatchNorm(self.width, 7, stride=2, **shared, name="stem")(
            images.astype(self.dtype), sizes, use_running_average
        )
        x = nn.relu(x)
        features = {"stem": x}
        x, sizes = max_pool(x, sizes)
        previous, dilation = 4, 1
        for index, count in enumerate(BLOCKS[self.depth]):
            name = f"layer{index + 1}"
            stride = self.strides[name] // previous
            before, after = dilation, dilation * (1, 2, 2, 2)[index] // stride
            if self.dilation == "none":
                after = before
            stage = Stage(
                self.block,
                count,
                self.width * 2**index,
                stride,
                (before, before if self.dilation == "after_first" else after),
                after,
                self.version == "v1",
                shared,
                self.suppression,
                name=name,
            )
            x, sizes = stage(x, sizes, use_running_average)
            features[name] = x
            previous, dilation = self.strides[name], after
        return features
