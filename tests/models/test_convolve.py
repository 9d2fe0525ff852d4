"""Convolution and its gradients against a sum over taps in float64 NumPy, and against
XLA's own derivative.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models import convolve as module
from hfpl_jax.models.convolve import convolve

CASES = [
    # (height, width), kernel size, stride, dilation
    ((7, 9), 1, 1, 1),
    ((7, 9), 1, 2, 1),
    ((7, 9), 3, 1, 1),
    ((8, 9), 3, 2, 1),
    ((9, 6), 3, 1, 4),
    ((8, 5), 3, 2, 2),
    ((12, 11), 7, 2, 1),
    ((2, 3), 3, 1, 4),  # most taps meet nothing but padding
]


def oracle(x, kernel, slope, stride, dilation):
    """y, dL/dx and dL/dW for dL/dy = slope, pixel by pixel of the kernel."""
    size, pad = kernel.shape[0], dilation * (kernel.shape[0] // 2)
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    y, dx, dw = np.zeros(slope.shape), np.zeros(padded.shape), np.zeros(kernel.shape)
    for i, j in np.ndindex(size, size):
        tap = np.s_[:, i * dilation :, j * dilation :]
        met = np.s_[:, : stride * slope.shape[1] : stride, : stride * slope.shape[2] : stride]
        pixels = padded[tap][met]
        y += pixels @ kernel[i, j]
        dw[i, j] = np.einsum("bpqc,bpqo->co", pixels, slope)
        dx[tap][met] += slope @ kernel[i, j].T
    return y, dx[:, pad : dx.shape[1] - pad, pad : dx.shape[2] - pad], dw


def problem(size, kernel_size, stride, channels=5, features=6):
    rng = np.random.default_rng(0)
    outputs = [-(-side // stride) for side in size]
    shapes = (
        (2, *size, channels),
        (kernel_size, kernel_size, channels, features),
        (2, *outputs, features),
    )
    return [rng.normal(size=shape) for shape in shapes]


# dL/dx by convolution, by a product a tap, and by one product, as more features than
# pixels make kernels large
WAYS = [(256, 6), (1, 6), (1, 300)]


def assert_equals_numpy(case, wide, features, variant):
    size, kernel_size, stride, dilation = case
    arrays = problem(size, kernel_size, stride, features=features)

    def value_and_gradients(x, kernel, slope):
        y, transpose = jax.vjp(lambda x, kernel: convolve(x, kernel, stride, dilation), x, kernel)
        return y, *transpose(slope)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WIDE", wide)
        found = variant(value_and_gradients)(*(jnp.asarray(array, jnp.float32) for array in arrays))
    for array, expected in zip(found, oracle(*arrays, stride, dilation), strict=True):
        assert array.shape == expected.shape
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("wide", "features"), WAYS)
@pytest.mark.parametrize("case", CASES)
def test_equals_numpy(case, wide, features):
    assert_equals_numpy(case, wide, features, jax.jit)


class ConvolveTest(chex.TestCase):
    @chex.variants(without_jit=True, with_device=True)
    def test_equals_numpy_without_jit(self):
        for wide, features in WAYS:
            assert_equals_numpy(((8, 9), 3, 2, 1), wide, features, self.variant)


def test_accelerators_get_the_derivative_of_the_convolution():
    x, kernel, slope = (
        jax.ShapeDtypeStruct(array.shape, jnp.float32) for array in problem((8, 9), 3, 1)
    )

    def gradients(x, kernel, slope):
        return jax.vjp(lambda x, kernel: convolve(x, kernel, 1, 1), x, kernel)[1](slope)

    programs = {
        platform: jax.jit(gradients)
        .trace(x, kernel, slope)
        .lower(lowering_platforms=(platform,))
        .as_text()
        for platform in ("cpu", "tpu")
    }
    assert programs["cpu"].count("dot_general") == 9
    assert programs["tpu"].count("dot_general") == 0


def test_bfloat16_sums_in_float32():
    x, kernel, slope = (jnp.asarray(array, jnp.bfloat16) for array in problem((32, 32), 3, 1))
    gradients = jax.vjp(lambda x, kernel: convolve(x, kernel, 1, 1), x, kernel)[1](slope)
    exact = oracle(*(np.asarray(array, np.float64) for array in (x, kernel, slope)), 1, 1)[1:]
    for gradient, expected in zip(gradients, exact, strict=True):
        assert gradient.dtype == jnp.bfloat16
        # Half a step of bfloat16 and no more: the 2,048 products of a kernel's gradient
        # are not rounded on the way.
        np.testing.assert_allclose(
            np.asarray(gradient, np.float64),
            expected,
            rtol=2**-8,
            atol=2**-8 * np.abs(expected).max(),
        )
