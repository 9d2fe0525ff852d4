"""How much a program computes, counted in what JAX has traced: a loop as often as it is
run, which compilers' own counts leave out.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

_LANES = 128
"""Sides of a TPU's matrix unit: narrower products leave parts of it idle."""

_PASSES = {"HIGH": 3, "HIGHEST": 6}
"""Products of bfloat16 that one of float32 is made of; else it is one."""

_FREE = frozenset(
    ("broadcast_in_dim", "reshape", "transpose", "slice", "squeeze", "concatenate", "copy", "iota")
)


class Work(NamedTuple):
    """Operations of all devices together.

    products: two for each multiplication in convolutions and matrix products.
    occupied: the same as the matrix units feel it: several passes in float32 at full
      precision, and narrow matrices as wide as the unit.
    others: one for each element of all other results.
    """

    products: float
    occupied: float
    others: float

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, count: float) -> "Work":
        return Work(*(count * each for each in self))


NONE = Work(0.0, 0.0, 0.0)


def work_of(jaxpr: Any) -> Work:
    """Of a traced program, `Traced.jaxpr`."""
    return sum(map(_of_equation, jaxpr.eqns), NONE)


def _of_equation(equation: Any) -> Work:
    name = equation.primitive.name
    if name == "dot_general":
        return _matrix_product(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    if name == "cond":  # one of the branches is run
        return max(work_of(branch.jaxpr) for branch in equation.params["branches"])
    inner = list(_inner(equation.params))
    if inner:
        total = sum(map(work_of, inner), NONE)
        return total.times(equation.params["length"]) if name == "scan" else total
    if name in _FREE:
        return NONE
    arrays = [*equation.outvars, *(equation.invars if name.startswith("reduce") else ())]
    return Work(0.0, 0.0, max(math.prod(getattr(each.aval, "shape", ())) for each in arrays))


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """The programs in the parameters of a call or a loop."""
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, jax.extend.core.ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, jax.extend.core.Jaxpr):
                yield each


def _passes(equation: Any) -> int:
    precision = equation.params["precision"]
    stated = precision if isinstance(precision, tuple) else (precision,)
    return max((_PASSES.get(getattr(each, "name", ""), 1) for each in stated), default=1)


def _matrix_product(equation: Any) -> Work:
    (left, _), (batched, _) = equation.params["dimension_numbers"]
    a, b = (each.aval for each in equation.invars[:2])
    inner = math.prod(a.shape[axis] for axis in left)
    batch = math.prod(a.shape[axis] for axis in batched)
    rows, columns = (math.prod(each.shape) // max(1, inner * batch) for each in (a, b))
    products = 2.0 * batch * rows * columns * inner
    wide = 2.0 * batch * max(rows, columns) * _filled(min(rows, columns)) * _filled(inner)
    return Work(products, wide * _passes(equation), 0.0)


def _filled(side: int) -> int:
    return -(-side // _LANES) * _LANES


def _convolution(equation: Any) -> Work:
    kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    numbers = equation.params["dimension_numbers"]
    spread = math.prod(equation.params["lhs_dilation"])  # between them there are zeros
    products = 2.0 * math.prod(out) * math.prod(kernel) / kernel[numbers.rhs_spec[0]] / spread
    return Work(products, products * _passes(equation), 0.0)
