"""Array annotations of the library: one vocabulary of axes, checked whenever a function
is called or traced.

`b` batch, `h w` rows and columns of a map, `c` foreground classes, `m` those and the
background, `k` channels, `n` pixels in a row, `s` samples. Everything is channels
last.
"""

import jax
import numpy as np
from beartype import beartype
from jaxtyping import Bool, Float, Int, Key, Num, UInt8, UInt32, jaxtyped

Array = jax.Array | np.ndarray
"""Pure functions take NumPy arrays as well."""

typed = jaxtyped(typechecker=beartype)
"""Decorator: checks the shapes and types in a function's signature, at trace time under
`jit`.
"""

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Num", "UInt8", "UInt32", "typed"]
