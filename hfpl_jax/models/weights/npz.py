"""Reader of NumPy's `.npz` files that allocates nothing before it has seen that the
file can fill it.

`numpy.load` makes room for the shape a header claims, and unpacks what a member claims:
a file of a kilobyte can ask for all memory.
"""

import math
import os
import zipfile

import numpy as np

_FREE_BYTES, _MOST_EXPANSION = 2**27, 20
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every array of an `.npz` file by its name, read-only.

    Nothing is unpickled. Compressed weights shrink by a tenth or two; a file that
    claims to unpack to more than 20 times its size, and to more than 128 MB, is
    refused.

    Raises:
      ValueError: a member holds Python objects, or claims another size than it has;
        whatever `zipfile` and NumPy raise for a damaged file.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        claimed = sum(member.file_size for member in members)
        if claimed > max(_FREE_BYTES, _MOST_EXPANSION * os.path.getsize(path)):
            raise ValueError(f"it claims to unpack to {claimed} bytes")
        return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = member.filename
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in a way that NumPy does not use")
    with archive.open(member) as file:
        try:
            shape, fortran_order, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
        except (
            Exception
        ) as error:  # NumPy evaluates the header as a Python literal, and raises what that raises
            raise ValueError(
                f"{name} does not start with a header of NumPy's ({type(error).__name__})"
            ) from error
        if dtype.hasobject:
            raise ValueError(
                f"the array {name} holds Python objects, which would have to be unpickled"
            )
        size, left = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
        if size != left or dtype.itemsize == 0:
            raise ValueError(
                f"the array {name} claims the shape {shape} of {dtype}, but has {left} bytes"
            )
        data = file.read(
            size
        )  # no more is unpacked than this, whatever the compressed bytes would give
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
