"""One photograph with its labels and mask, still encoded, and the codecs every reader and builder shares."""

import dataclasses
import io

import numpy as np
from PIL import Image

from hfpl_jax.errors import InputError
from hfpl_jax.shapes import UInt8, typed

IGNORE = 255
"""Mask value of a pixel that is neither background nor a class: no metric and no loss counts it."""

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclasses.dataclass(frozen=True)
class Example:
    """What a split yields.

    Attributes:
      file_name: the photograph's name relative to its image folder, with extension.
      image: JPEG or PNG bytes as they lie in the source.
      labels: int64 [n], zero-based foreground classes, sorted, unique.
      segmentation_mask: PNG bytes, grayscale: 0 background, 1..C foreground (label + 1), 255 ignore; None without a mask.
      height, width: of the image, and of the mask.
    """

    file_name: str
    image: bytes
    labels: np.ndarray
    segmentation_mask: bytes | None
    height: int
    width: int


@typed
def decode_image(image: bytes, file_name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes a whole photograph to RGB; grayscale, palette and CMYK are converted, an EXIF rotation is not applied.

    Raises:
      InputError: the bytes are no image, or end before the last row.
    """
    try:
        with Image.open(io.BytesIO(image)) as opened:
            return np.array(opened.convert("RGB"))
    except _UNREADABLE as error:
        raise InputError(
            f"The image {file_name} cannot be decoded ({error}): it is truncated or damaged. "
            "Copy or download it again, or set config.data.on_bad_record = 'skip'."
        ) from error


@typed
def decode_mask(mask: bytes, file_name: str) -> UInt8[np.ndarray, "h w"]:
    """Decodes a mask to class values: the index of a palette PNG, the value of an 8-bit grayscale one.

    Raises:
      InputError: the bytes are no image, are cut off, or hold colours instead of class values.
    """
    try:
        with Image.open(io.BytesIO(mask)) as opened:
            mode, values = opened.mode, np.array(opened)
    except _UNREADABLE as error:
        raise InputError(
            f"The mask {file_name} cannot be decoded ({error}): it is truncated or damaged. "
            "Copy or download it again, or set config.data.on_bad_record = 'skip'."
        ) from error
    if mode not in ("P", "L"):
        raise InputError(
            f"The mask {file_name} has mode {mode}, but a mask holds class values: "
            "save it as an 8-bit grayscale or palette PNG (0 background, 1..C classes, 255 ignore)."
        )
    return values


@typed
def encode_mask(mask: UInt8[np.ndarray, "h w"]) -> bytes:
    """Encodes class values as an 8-bit grayscale PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()
