"""Photographs that are handed over in Python: arrays, or paths of files."""

import dataclasses
import os
import pathlib
from typing import Self

import numpy as np

from hfpl_jax.data.example import decode_image
from hfpl_jax.data.photographs import read_bytes
from hfpl_jax.errors import InputError

Image = np.ndarray | str | os.PathLike


@dataclasses.dataclass(frozen=True)
class GivenImage:
    """A `Photograph` that is an array, or a file that is read when it is looked at."""

    file_name: str
    source: Image
    labels: np.ndarray
    height: int
    width: int

    @classmethod
    def of(cls, number: int, source: Image, labels: np.ndarray) -> Self:
        """The image that is `number` in a list, and the classes it shows.

        Raises:
          InputError: an array that is no picture; a file that cannot be read.
        """
        if isinstance(source, np.ndarray):
            _check(number, source)
            name, size = f"image {number}", source.shape[:2]
        else:
            name, size = f"image {number}: {os.fspath(source)}", _pixels(source).shape[:2]
        return cls(name, source, labels, int(size[0]), int(size[1]))

    def pixels(self) -> np.ndarray:
        return _pixels(self.source)


def _check(number: int, image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(
            f"Image {number} is an array {list(image.shape)} of {image.dtype}: it must be "
            "uint8 [h, w, 3], the colours red, green, blue from 0 to 255. Convert it, or "
            "give the path of its file."
        )


def _pixels(source: Image) -> np.ndarray:
    if isinstance(source, np.ndarray):
        return source
    path = pathlib.Path(source)
    return decode_image(read_bytes(path, "it is to be predicted", "Correct the path."), str(path))
