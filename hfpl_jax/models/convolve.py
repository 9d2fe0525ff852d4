"""A 2-D convolution, channels last, whose gradients are as fast on a CPU as the
convolution itself.

    y[n, p, q, o] = sum_ijc x[n, s p + d (i - k//2), s q + d (j - k//2), c] W[i, j, c,
    o] s = stride, d = dilation, x is 0 outside

Padding is torch's: symmetric, whatever the stride ("SAME" differs from it for a stride
of 2 on an even size).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.shapes import Array, Float

WIDE = 256
"""Channels from which dL/dx, too, is faster by products."""


def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "i j c o"], stride: int, dilation: int
) -> Float[Array, "b p q o"]:
    """`y` above; a kernel of one pixel is a matrix product, which is faster than a
    convolution on a CPU.

    It has no forward-mode derivative (`jax.jvp`): the gradients are given as such.
    """
    if kernel.shape[0] == 1:
        x = x[:, ::stride, ::stride]
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)
    return _spatial(x, kernel, stride, dilation)


def plain_convolution(x, kernel, stride, dilation):
    """`y` above with the gradients that JAX gives it."""
    pad = dilation * (kernel.shape[0] // 2)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


_spatial = jax.custom_vjp(plain_convolution, nondiff_argnums=(2, 3))


def _forward(x, kernel, stride, dilation):
    return plain_convolution(x, kernel, stride, dilation), (x, kernel)


def _backward(stride, dilation, saved, slope):
    def by_convolutions(x, kernel, slope):
        convolved = functools.partial(plain_convolution, stride=stride, dilation=dilation)
        return jax.vjp(convolved, x, kernel)[1](slope)

    def by_products(x, kernel, slope):
        gradient = _kernel_gradient(x, kernel, slope, stride, dilation)
        if min(kernel.shape[2:]) < WIDE:
            return by_convolutions(x, kernel, slope)[0], gradient
        return _input_gradient(x, kernel, slope, stride, dilation), gradient

    # dL/dW is a convolution whose kernel is as large as a map: on a CPU, XLA runs it at
    # a third of the rate of a matrix product.
    return jax.lax.platform_dependent(*saved, slope, cpu=by_products, default=by_convolutions)


_spatial.defvjp(_forward, _backward)


def _kernel_gradient(x, kernel, slope, stride, dilation):
    """dL/dW[i, j] = X_ij^T G: X_ij [b p q, c] are the pixels of x that tap (i, j)
    meets, G [b p q, o] the slopes dL/dy.
    """
    size, channels = kernel.shape[0], kernel.shape[2]
    pad = dilation * (size // 2)
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = (stride * (side - 1) + 1 for side in slope.shape[1:3])

    def met(i: int, j: int) -> jax.Array:
        top, left = i * dilation, j * dilation
        return padded[:, top : top + rows : stride, left : left + columns : stride].reshape(
            -1, channels
        )

    taps = [met(i, j) for i, j in np.ndindex(size, size)]
    if _kernel_outweighs(slope):
        taps = [jnp.concatenate(taps, axis=1)]
    slope = slope.reshape(-1, slope.shape[-1])
    products = [jnp.matmul(tap.T, slope, preferred_element_type=jnp.float32) for tap in taps]
    return jnp.concatenate(products).reshape(kernel.shape).astype(kernel.dtype)


def _input_gradient(x, kernel, slope, stride, dilation):
    """dL/dx = sum_ij of G W[i, j]^T, each put where tap (i, j) met x."""
    size = kernel.shape[0]

    def product(kernel):
        return jnp.matmul(slope, kernel.T, preferred_element_type=jnp.float32)

    if _kernel_outweighs(slope):
        together = product(kernel.reshape(-1, kernel.shape[3]))
        from_taps = jnp.split(together, size * size, axis=-1)
    else:
        from_taps = [product(kernel[i, j]) for i, j in np.ndindex(size, size)]
    gradient = jnp.zeros(x.shape, jnp.float32)
    for (i, j), from_tap in zip(np.ndindex(size, size), from_taps, strict=True):
        before = [dilation * (tap - size // 2) for tap in (i, j)]
        after = [
            length - (stride * (side - 1) + 1) - first
            for length, side, first in zip(x.shape[1:3], slope.shape[1:3], before, strict=True)
        ]
        place = [
            (first, last, stride - 1) for first, last in zip(before, after, strict=True)
        ]  # negative: cut off
        gradient += jax.lax.pad(
            from_tap, jnp.zeros((), from_tap.dtype), ((0, 0, 0), *place, (0, 0, 0))
        )
    return gradient.astype(x.dtype)


def _kernel_outweighs(slope) -> bool:
    """Whether the pixels of all taps side by side are fewer bytes than the kernel: then
    one product of them spares its copies.
    """
    return slope[..., 0].size < slope.shape[-1]
