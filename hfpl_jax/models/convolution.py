"""Convolution, batch normalisation, both in one, and max-pooling, on batches of padded
images.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from hfpl_jax.models.convolve import convolve
from hfpl_jax.shapes import Array, Bool, Float, Int, typed

EPSILON = 1e-5
he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""What PyTorch starts a convolution with: uniform up to 1 / sqrt(fan_in)."""


@typed
def inside(sizes: Int[Array, "b 2"], height: int, width: int) -> Bool[Array, "b h w"]:
    """True in the top left corner of `sizes` (rows, columns) that each image fills of
    its array, False in its padding.
    """
    rows, columns = jnp.arange(height) < sizes[:, :1], jnp.arange(width) < sizes[:, 1:]
    return rows[:, :, None] & columns[:, None, :]


@typed
def mask_padding(
    x: Float[Array, "b h w k"], sizes: Int[Array, "b 2"] | None
) -> Float[Array, "b h w k"]:
    """Zeros outside each image's `sizes` (height, width), so that the padding of the
    batch *is* a convolution's zero padding.
    """
    return (
        x
        if sizes is None
        else jnp.where(inside(sizes, *x.shape[1:3])[..., None], x, jnp.zeros((), x.dtype))
    )


def halve(sizes, stride):
    """Sizes after an operation of this stride: `ceil(size / stride)`."""
    return None if sizes is None else (sizes + stride - 1) // stride


def max_pool(x, sizes):
    """3x3 maximum, stride 2, of values that are not negative (a zero is then as good a
    padding as minus infinity).
    """
    x = nn.max_pool(mask_padding(x, sizes), (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    return x, halve(sizes, 2)


def statistics(module, channels):
    """The stored mean and variance of a module, float32 whatever the computation is
    done in.
    """
    return (
        module.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32),
        module.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32),
    )


def batch_statistics(module, x, stored, momentum):
    """Mean and variance of float32 `x` [b h w k], of all devices' images; what is stored
    moves towards them by the share `momentum`, once a call.

    The batch is normalised by the biased variance, and the unbiased one, n / (n - 1) of
    it, is stored: so torch does, where the published programs were trained, while
    Flax's own layer stores the biased one.
    """
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    if not module.is_initializing():
        count = x.size // x.shape[-1]
        for variable, new in zip(stored, (mean, var * (count / max(count - 1, 1))), strict=True):
            variable.value = (1 - momentum) * variable.value + momentum * new
    return mean, var


def factor_and_shift(scale, bias, mean, var):
    """Float32, of a normalisation: `factor * y + shift`."""
    factor = scale.astype(jnp.float32) * jax.lax.rsqrt(var + EPSILON)
    return factor, bias.astype(jnp.float32) - mean * factor


class Convolution(nn.Module):
    """`conv(x, W)` without bias; parameter `kernel` (HWIO)."""

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x, sizes):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", he_normal, shape, self.param_dtype)
        if self.kernel_size > 1:
            x = mask_padding(x, sizes)
        return convolve(x, kernel.astype(self.dtype), self.stride, self.dilation), halve(
            sizes, self.stride
        )


class BiasedConvolution(nn.Module):
    """`conv(x, W) + b`; parameters `kernel` (HWIO) and `bias`."""

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = he_normal

    @nn.compact
    def __call__(self, x, sizes):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        if self.kernel_size > 1:
            x = mask_padding(x, sizes)
        convolved = convolve(x, kernel.astype(self.dtype), self.stride, self.dilation)
        return convolved + bias.astype(self.dtype)


class BatchNorm(nn.Module):
    """`gamma * (x - mean) / sqrt(var + 1e-5) + beta`, for normalisation *before* a
    convolution.

    Parameters `scale` (gamma), `bias` (beta); statistics `mean`, `var` in the
    collection `batch_stats`. The arithmetic is float32 and the result `dtype`.
    """

    momentum: float = 0.1
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x, use_running_average):
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,), self.param_dtype).astype(
            jnp.float32
        )
        bias = self.param("bias", nn.initializers.zeros, (channels,), self.param_dtype).astype(
            jnp.float32
        )
        stored = statistics(self, channels)
        x = x.astype(jnp.float32)
        mean, var = (
            (each.value for each in stored)
            if use_running_average
            else batch_statistics(self, x, stored, self.momentum)
        )
        return ((x - mean) * (scale * jax.lax.rsqrt(var + EPSILON)) + bias).astype(self.dtype)


class ConvBatchNorm(nn.Module):
    """`gamma * (conv(x, W) - mean) / sqrt(var + 1e-5) + beta`.

    Parameters `kernel` (HWIO), `scale` (gamma), `bias` (beta); statistics `mean`, `var`
    in the collection `batch_stats`. With the stored statistics the normalisation is
    folded into the kernel: one operation less over the map, forward and backward.
    `momentum` is the share of a batch in the running statistics, 0.1 as torch counts
    it.
    """

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    momentum: float = 0.1
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x, sizes, use_running_average):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", he_normal, shape, self.param_dtype)
        scale = self.param("scale", nn.initializers.ones, (self.features,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        stored = statistics(self, self.features)

        if self.kernel_size > 1:
            x = mask_padding(x, sizes)
        if use_running_average:
            factor, shift = factor_and_shift(scale, bias, *(each.value for each in stored))
            y = convolve(
                x,
                (kernel.astype(jnp.float32) * factor).astype(self.dtype),
                self.stride,
                self.dilation,
            )
            return y + shift.astype(self.dtype), halve(sizes, self.stride)

        y = convolve(x, kernel.astype(self.dtype), self.stride, self.dilation).astype(jnp.float32)
        mean, var = batch_statistics(self, y, stored, self.momentum)
        factor = scale.astype(jnp.float32) * jax.lax.rsqrt(var + EPSILON)
        return ((y - mean) * factor + bias.astype(jnp.float32)).astype(self.dtype), halve(
            sizes, self.stride
        )
