"""One photograph's CAMs as a compact record: 8-bit maps of its classes in one PNG, a
few tens of kilobytes.
"""

import contextlib
import dataclasses
import io
import math
import operator
from collections.abc import Iterator

import numpy as np
from PIL import Image, PngImagePlugin

from hfpl_jax.errors import InputError
from hfpl_jax.runtime.records import Record
from hfpl_jax.shapes import Float, typed

_MOST_EXPANSION = 1032  # of the compression in a PNG
_AGAIN = "Delete the stage's folder in the workdir and run the stage again."


@typed
def encode_maps(maps: Float[np.ndarray, "h w n"]) -> bytes:
    """Maps in [0, 1] in steps of 1/255, one below another in a grayscale PNG; no bytes
    for no maps."""
    height, width, count = maps.shape
    stacked = _steps(maps).transpose(2, 0, 1).reshape(count * height, width)
    png = io.BytesIO()
    if count:
        Image.fromarray(stacked).save(
            png, "PNG", compress_level=3
        )  # level 6 saves 3% more and takes twice as long
    return png.getvalue()


@typed
def as_stored(maps: Float[np.ndarray, "h w n"]) -> Float[np.ndarray, "h w n"]:
    """What `decode_maps` makes of the bytes of `encode_maps`, without the bytes."""
    return _steps(maps).astype(np.float32) / np.float32(255.0)


def _steps(maps: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(maps, 0.0, 1.0) * 255.0).astype(np.uint8)


@typed
def decode_maps(data: bytes, shape: tuple[int, int, int]) -> Float[np.ndarray, "h w n"]:
    """The float32 maps of `encode_maps`, of shape (height, width, number).

    Raises:
      InputError: the bytes are not of such maps.
    """
    try:
        return _maps(data, *shape)
    except Exception as error:  # whatever damaged bytes make Pillow raise
        raise InputError(f"The maps of a record cannot be decoded ({error}). {_AGAIN}") from error


def _maps(data: bytes, height: int, width: int, count: int) -> np.ndarray:
    if count:
        # Not by Image.open, which takes several maps of a large photograph for a
        # decompression bomb.
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as png:
            size = width, count * height
            if (png.mode, png.size) != ("L", size) or math.prod(size) > _MOST_EXPANSION * len(data):
                raise ValueError(
                    f"they are {png.size} of mode {png.mode} in {len(data)} bytes, not {size}"
                )
            stacked = np.array(png)
    else:
        stacked = np.zeros((0, width), np.uint8)
    return stacked.reshape(count, height, width).transpose(1, 2, 0).astype(np.float32) / np.float32(
        255.0
    )


@dataclasses.dataclass(frozen=True)
class CamRecord:
    """CAMs of one photograph.

    Attributes:
      index: the photograph's place in its split.
      file_name: its name, as in the dataset.
      labels: its zero-based foreground classes, as given.
      classes: the classes of the maps: the given labels, or the predicted ones.
      cams: float32 [h, w, n] in [0, 1], in the order of `classes`; stored in steps of
        1/255.
      probabilities: float32 [c], of every class of the network, from its pooled logit.
    """

    index: int
    file_name: str
    labels: np.ndarray
    classes: np.ndarray
    cams: np.ndarray
    probabilities: np.ndarray

    def encode(self) -> Record:
        """As a record; a map of -1 (no evidence) is stored as 0."""
        height, width, _ = self.cams.shape
        return {
            "index": self.index,
            "file_name": self.file_name,
            "height": height,
            "width": width,
            "labels": [int(label) for label in self.labels],
            "classes": [int(label) for label in self.classes],
            "cams": encode_maps(self.cams),
            "probabilities": np.asarray(self.probabilities, np.float32),
        }

    @classmethod
    def decode(cls, record: Record) -> "CamRecord":
        """From a record. Raises InputError if it is damaged or of another kind."""
        with _damage_told(record) as file_name:
            classes = np.asarray(record["classes"], np.int64)
            cams = _maps(record["cams"], record["height"], record["width"], len(classes))
            index, (labels, probabilities) = operator.index(record["index"]), _shown(record)
            return cls(index, file_name, labels, classes, cams, probabilities)


def read_shown(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """The given labels of a record's photograph, and the probabilities of all classes:
    without decoding the maps. Raises InputError as `CamRecord.decode` does.
    """
    with _damage_told(record):
        return _shown(record)


def _shown(record: Record) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(record["labels"], np.int64)
    probabilities = np.asarray(record["probabilities"], np.float32)
    if probabilities.ndim != 1 or not np.all((labels >= 0) & (labels < len(probabilities))):
        raise ValueError("its labels and probabilities do not go together")
    return labels, probabilities


@contextlib.contextmanager
def _damage_told(record: Record) -> Iterator[str]:
    """Yields the file name; what damaged values make NumPy and Pillow raise inside the
    block becomes an InputError.
    """
    file_name = record["file_name"]
    try:
        if not isinstance(file_name, str):
            raise TypeError("its file name is no text")
        yield file_name
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The record of {file_name!r:.100} holds no CAMs ({error}). {_AGAIN}"
        ) from error
