"""The residual blocks of ResNet-18/34/50/101, and a stage of them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn

from hfpl_jax.models.convolution import ConvBatchNorm
from hfpl_jax.models.suppression import rectified


class BasicBlock(nn.Module):
    """`relu(conv2(relu(conv1(x))) + shortcut(x))`, two 3x3 convolutions: the block of
    ResNet-18 and 34.
    """

    features: int
    stride: int
    dilations: tuple[int, int]  # before and after the place of the stride
    stride_in_1x1: bool  # has no meaning here: there is no 1x1 convolution
    shared: Mapping[str, Any]  # of every ConvBatchNorm: dtypes and momentum
    suppression: str = ""  # in place of the ReLUs behind 3x3 convolutions
    expansion: ClassVar[int] = 1

    @nn.compact
    def __call__(self, x, sizes, use_running_average):
        def conv(name, features, kernel, **options):
            return ConvBatchNorm(features, kernel, **options, **self.shared, name=name)

        before, after = self.dilations
        y, y_sizes = conv("conv1", self.features, 3, stride=self.stride, dilation=before)(
            x, sizes, use_running_average
        )
        y = rectified(y, y_sizes, self.suppression, 1)
        y, y_sizes = conv("conv2", self.features, 3, dilation=after)(
            y, y_sizes, use_running_average
        )
        if x.shape != y.shape:
            x, _ = conv("downsample", self.features, 1, stride=self.stride)(
                x, sizes, use_running_average
            )
        return rectified(y + x, y_sizes, self.suppression, 2), y_sizes


class Bottleneck(nn.Module):
    """`relu(conv3(relu(conv2(relu(conv1(x))))) + shortcut(x))`, 1x1 - 3x3 - 1x1: the
    block of ResNet-50 and 101.

    `stride_in_1x1` is the original placement (v1); without it the 3x3 convolution
    carries the stride (v1.5).
    """

    features: int
    stride: int
    dilations: tuple[int, int]  # before and after the place of the stride
    stride_in_1x1: bool
    shared: Mapping[str, Any]
    suppression: str = ""  # in place of the ReLU behind the 3x3 convolution
    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x, sizes, use_running_average):
        def conv(name, features, kernel, **options):
            return ConvBatchNorm(features, kernel, **options, **self.shared, name=name)

        before, after = self.dilations
        wide = self.features * self.expansion
        strides = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        dilation = after if self.stride_in_1x1 else before
        y, y_sizes = conv("conv1", self.features, 1, stride=strides[0])(
            x, sizes, use_running_average
        )
        y, y_sizes = conv("conv2", self.features, 3, stride=strides[1], dilation=dilation)(
            nn.relu(y), y_sizes, use_running_average
        )
        y = rectified(y, y_sizes, self.suppression)
        y, y_sizes = conv("conv3", wide, 1)(y, y_sizes, use_running_average)
        if x.shape != y.shape:
            x, _ = conv("downsample", wide, 1, stride=self.stride)(x, sizes, use_running_average)
        return nn.relu(y + x), y_sizes


class Stage(nn.Module):
    """`count` residual blocks, `block0`, ...; the first carries the stride or, where
    that is removed, the change of dilation.
    """

    block: type[nn.Module]
    count: int
    features: int
    stride: int
    first_dilations: tuple[int, int]  # of block0, before and after the place of the stride
    dilation: int  # of the other blocks
    stride_in_1x1: bool
    shared: Mapping[str, Any]
    suppression: str = ""

    @nn.compact
    def __call__(self, x, sizes, use_running_average):
        for index in range(self.count):
            stride = self.stride if index == 0 else 1
            dilations = self.first_dilations if index == 0 else (self.dilation,) * 2
            block = self.block(
                self.features,
                stride,
                dilations,
                self.stride_in_1x1,
                self.shared,
                self.suppression,
                name=f"block{index}",
            )
            x, sizes = block(x, sizes, use_running_average)
        return x, sizes
