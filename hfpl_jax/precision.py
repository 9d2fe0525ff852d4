"""The precision of losses, correlations and walks: float32 at least, whatever the network
computes in; and that of a network's products.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array

P = ParamSpec("P")
T = TypeVar("T")


def at_least_float32(array: Array) -> jax.Array:
    """bfloat16 and float16 become float32; float64 stays where JAX has it enabled."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


PRODUCTS = ("default", "high", "highest")
"""Of config.model.precision. A device with units for short numbers makes a product of
float32 of one product of those by default, of three or six otherwise; a CPU never does.
"""


def of_products(precision: str) -> contextlib.AbstractContextManager:
    """Inside, what is traced multiplies matrices and convolves at this precision, but for
    what states its own, as losses, CRF, walk and resizing do: all of float32.
    """
    return jax.default_matmul_precision(None if precision == "default" else precision)


def with_products(function: Callable[P, T], precision: str) -> Callable[P, T]:
    """The function, traced at this precision wherever it is compiled; by default at that
    of the place.
    """
    if precision == PRODUCTS[0]:
        return function

    @functools.wraps(function)
    def traced(*args: P.args, **kwargs: P.kwargs) -> T:
        with of_products(precision):
            return function(*args, **kwargs)

    return traced
