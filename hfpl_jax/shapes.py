"""Array annotations of the library: one vocabulary of axes, checked whenever a function is called or traced.

`b` batch, `h w` rows and columns of a map, `c` foreground classes, `k` channels, `n` pixels in a row, `s` samples.
Everything is channels last.
"""

from beartype import beartype
from jaxtyping import Array, Bool, Float, Int, Key, Num, UInt8, UInt32, jaxtyped

typed = jaxtyped(typechecker=beartype)
"""Decorator: checks the shapes and types in a function's signature, at trace time under `jit`."""

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Num", "UInt8", "UInt32", "typed"]
