"""What is counted in traced programs, against counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from hfpl_jax.topology.work import work_of

shape = jax.ShapeDtypeStruct


def work(function, *arguments):
    return work_of(jax.jit(function).trace(*arguments).jaxpr)


def test_a_matrix_product():
    found = work(lambda a, b: a @ b, shape((256, 128), jnp.float32), shape((128, 384), jnp.float32))
    assert found == (2 * 256 * 128 * 384, 2 * 256 * 128 * 384, 0)


def test_a_narrow_one_leaves_the_matrix_unit_idle_and_full_precision_takes_six_passes():
    def product(a, b):
        return jnp.einsum("bqf,bnf->bqn", a, b, precision="highest")

    found = work(product, shape((2, 64, 5), jnp.float32), shape((2, 256, 5), jnp.float32))
    assert found == (2 * 2 * 64 * 256 * 5, 6 * 2 * 2 * 256 * 128 * 128, 0)


def test_a_loop_counts_as_often_as_it_is_run():
    def looped(x, w):
        return jax.lax.fori_loop(0, 10, lambda _, x: jnp.tanh(x @ w), x)

    found = work(looped, shape((128, 128), jnp.float32), shape((128, 128), jnp.float32))
    assert found.products == 10 * 2 * 128**3
    assert found.others == pytest.approx(10 * 128**2, rel=0.01)  # and the counter of the loop


def convolved(strides):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    return convolve


IMAGES, KERNEL = shape((4, 16, 16, 8), jnp.float32), shape((3, 3, 8, 32), jnp.float32)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_and_its_two_gradients_compute_the_same_each(stride):
    forward = 2 * 4 * (16 // stride) ** 2 * 32 * 9 * 8
    convolve = convolved((stride, stride))
    assert work(convolve, IMAGES, KERNEL).products == forward

    def gradients(x, kernel):
        return jax.grad(lambda *both: convolve(*both).sum(), argnums=(0, 1))(x, kernel)

    assert work(gradients, IMAGES, KERNEL).products == pytest.approx(3 * forward, rel=1e-6)


def test_a_sum_reads_all_it_adds():
    assert work(lambda x: x.sum(), shape((100,), jnp.float32)).others == 100
