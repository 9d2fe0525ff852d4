"""Reader of MXNet's `.params` files, without MXNet.

All numbers are little-endian. A file is a list of arrays and a list of their names:

    uint64 0x112, uint64 reserved, uint64 count, count x array, uint64 count, count x
    (uint64 length, name)

and an array is, in the versions that MXNet has written so far,

    V2, V3:  uint32 magic, int32 storage (0: dense), uint32 ndim, int64 shape[ndim],
      int32 device[2], int32 dtype, data
    V1:      uint32 magic, uint32 ndim, int64 shape[ndim],
      int32 device[2], int32 dtype, data
    older:   uint32 ndim, uint32 shape[ndim], int32 device[2], int32 dtype, data

Source: MXNet, src/ndarray/ndarray.cc, NDArray::Save, NDArray::Load and
NDArray::LegacyLoad.
"""

import math
import os
import pathlib
import struct

import numpy as np

from hfpl_jax.errors import InputError

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
MAX_DIMENSIONS = 32
DTYPES = tuple(map(np.dtype, ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")))
"""By MXNet's type flag."""


class _Reader:
    """A cursor over the bytes of a file that never goes past their end."""

    def __init__(self, content: bytes):
        self.content, self.position = content, 0

    def take(self, size: int, what: str) -> memoryview:
        left = len(self.content) - self.position
        if size > left:
            raise ValueError(f"{what} at byte {self.position} needs {size} bytes, {left} are left")
        self.position += size
        return memoryview(self.content)[self.position - size : self.position]

    def numbers(self, format: str, what: str) -> tuple[int, ...]:
        return struct.unpack("<" + format, self.take(struct.calcsize("<" + format), what))

    def count(self, smallest: int, what: str) -> int:
        """A number of items of which each takes `smallest` bytes at least: more than
        fit in the file is refused at once.
        """
        (count,) = self.numbers("Q", what)
        if count * smallest > len(self.content) - self.position:
            raise ValueError(
                f"{what} at byte {self.position - 8} is {count}, more than the file can hold"
            )
        return count


def _read_array(reader: _Reader, index: int) -> np.ndarray:
    what = f"array {index}"
    (magic,) = reader.numbers("I", what)
    if magic in (V2, V3):
        (storage,) = reader.numbers("i", what)
        if storage != 0:
            raise ValueError(
                f"{what} has the sparse storage type {storage}, only dense arrays are read"
            )
    ndim, dimension = (reader.numbers("I", what)[0], "q") if magic in (V1, V2, V3) else (magic, "I")
    if not 1 <= ndim <= MAX_DIMENSIONS:
        raise ValueError(f"{what} has {ndim} dimensions, or an unknown version")
    shape = reader.numbers(f"{ndim}{dimension}", f"the shape of {what}")
    if min(shape) < 1:
        raise ValueError(f"{what} has the shape {shape}")
    _, _, flag = reader.numbers("3i", what)
    if not 0 <= flag < len(DTYPES):
        raise ValueError(f"{what} has the unknown type {flag}")
    data = reader.take(
        math.prod(shape) * DTYPES[flag].itemsize, f"the data of {what}, of shape {shape},"
    )
    return np.frombuffer(data, DTYPES[flag]).reshape(shape)


def read_mxnet_params(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every array of the file under its name there ("arg:conv1a_weight"), read-only.

    Sizes are checked against the length of the file before anything is allocated for
    them.

    Raises:
      InputError: the file is truncated, followed by other bytes, not such a file, or
        holds an array that is sparse, empty, of an unknown type, without a name, or
        whose name is taken.
    """
    reader = _Reader(pathlib.Path(path).read_bytes())
    try:
        magic, _ = reader.numbers("QQ", "the header")
        if magic != LIST_MAGIC:
            raise ValueError(f"it starts with {magic:#x} instead of {LIST_MAGIC:#x}")
        arrays = [
            _read_array(reader, index) for index in range(reader.count(20, "the number of arrays"))
        ]
        names = []
        for index in range(reader.count(8, "the number of names")):
            length = reader.count(1, f"the length of name {index}")
            names.append(str(reader.take(length, f"name {index}"), "utf-8"))
        if len(names) != len(arrays) or len(set(names)) != len(names):
            raise ValueError(f"it has {len(arrays)} arrays and {len(set(names))} different names")
        left = len(reader.content) - reader.position
        if left:
            raise ValueError(f"{left} bytes follow its end")
    except ValueError as error:  # of a name that is not UTF-8 as well
        raise InputError(
            f"The weight file {path} cannot be read as MXNet parameters ({error}): it is damaged, "
            "or not what its name says. Copy it anew."
        ) from error
    return dict(zip(names, arrays, strict=True))
