"""Convolution with batch normalisation, and max-pooling, on batches of padded images.

Padding is torch's: symmetric, whatever the stride ("SAME" differs from it for a stride of 2 on an even size).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from hfpl_jax.shapes import Array, Float, Int, typed

EPSILON = 1e-5
MOMENTUM = 0.9  # of the running statistics; torch counts the other way round and calls it 0.1


@typed
def mask_padding(x: Float[Array, "b h w k"], sizes: Int[Array, "b 2"] | None) -> Float[Array, "b h w k"]:
    """Zeros outside each image's `sizes` (height, width), so that the padding of the batch *is* a convolution's zero padding."""
    if sizes is None:
        return x
    rows = jnp.arange(x.shape[1]) < sizes[:, :1]
    columns = jnp.arange(x.shape[2]) < sizes[:, 1:]
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], x, jnp.zeros((), x.dtype))


def halve(sizes, stride):
    """Sizes after an operation of this stride: `ceil(size / stride)`."""
    return None if sizes is None else (sizes + stride - 1) // stride


def max_pool(x, sizes):
    """3x3 maximum, stride 2, of values that are not negative (a zero is then as good a padding as minus infinity)."""
    x = nn.max_pool(mask_padding(x, sizes), (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    return x, halve(sizes, 2)


def convolve(x, kernel, stride, dilation):
    if kernel.shape[0] == 1:  # a matrix product, which is faster than a convolution on a CPU
        return jnp.einsum("bhwk,kl->bhwl", x[:, ::stride, ::stride], kernel[0, 0])
    pad = dilation * (kernel.shape[0] // 2)
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((pad, pad), (pad, pad)), rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class ConvBatchNorm(nn.Module):
    """`gamma * (conv(x, W) - mean) / sqrt(var + 1e-5) + beta`.

    Parameters `kernel` (HWIO), `scale` (gamma), `bias` (beta); statistics `mean`, `var` in the collection `batch_stats`.
    With the stored statistics the normalisation is folded into the kernel: one operation less over the map, forward and
    backward.
    """

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x, sizes, use_running_average):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", he_normal, shape, self.param_dtype)
        scale = self.param("scale", nn.initializers.ones, (self.features,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        stored_mean = self.variable("batch_stats", "mean", jnp.zeros, (self.features,), jnp.float32)
        stored_var = self.variable("batch_stats", "var", jnp.ones, (self.features,), jnp.float32)

        if self.kernel_size > 1:
            x = mask_padding(x, sizes)
        if use_running_average:
            factor = scale.astype(jnp.float32) * jax.lax.rsqrt(stored_var.value + EPSILON)
            shift = bias.astype(jnp.float32) - stored_mean.value * factor
            y = convolve(x, (kernel.astype(jnp.float32) * factor).astype(self.dtype), self.stride, self.dilation)
            return y + shift.astype(self.dtype), halve(sizes, self.stride)

        y = convolve(x, kernel.astype(self.dtype), self.stride, self.dilation).astype(jnp.float32)
        mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
        if not self.is_initializing():
            count = y.size // self.features
            stored_mean.value = MOMENTUM * stored_mean.value + (1 - MOMENTUM) * mean
            stored_var.value = MOMENTUM * stored_var.value + (1 - MOMENTUM) * var * (count / max(count - 1, 1))
        factor = scale.astype(jnp.float32) * jax.lax.rsqrt(var + EPSILON)
        return ((y - mean) * factor + bias.astype(jnp.float32)).astype(self.dtype), halve(sizes, self.stride)
