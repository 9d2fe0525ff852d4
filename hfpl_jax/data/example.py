"""One photograph with its labels and mask, still encoded, and the codecs every reader
and builder shares.
"""

import contextlib
import dataclasses
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from hfpl_jax.errors import InputError
from hfpl_jax.shapes import UInt8, typed

_FREE_PIXELS, _PIXELS_PER_BYTE = 2**24, 64
_FREE_SCANS, _BYTES_PER_SCAN = 100, 2**15
_START_OF_SCAN = b"\xff\xda"


@dataclasses.dataclass(frozen=True)
class Example:
    """What a split yields.

    Attributes:
      file_name: the photograph's name relative to its image folder, with extension.
      image: JPEG or PNG bytes as they lie in the source.
      labels: int64 [n], zero-based foreground classes, sorted, unique.
      segmentation_mask: PNG bytes, grayscale: 0 background, 1..C foreground (label +
        1), 255 ignore; None without a mask.
      height, width: of the image, and of the mask.
    """

    file_name: str
    image: bytes
    labels: np.ndarray
    segmentation_mask: bytes | None
    height: int
    width: int


@contextlib.contextmanager
def _opened(data: bytes, what: str, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """Yields an image whose header is read; what is wrong with it becomes an
    InputError, in the block too.

    Other formats are not even tried: Pillow reads dozens, some of them by starting other programs.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as opened:
            yield opened
    except Exception as error:  # whatever damaged bytes make Pillow raise
        wanted = " or ".join(formats)
        reason = (
            f"it is not {wanted}"
            if isinstance(error, UnidentifiedImageError)
            else str(error) or type(error).__name__
        )
        raise InputError(
            f"The {what} cannot be decoded ({reason}): it is truncated, damaged or of another "
            "format. "
            f"Copy or download it again, save it as {wanted}, or set config.data.on_bad_record = "
            "'skip'."
        ) from error


def _check_claims(image: bytes, size: tuple[int, int]) -> None:
    """Raises ValueError if a header claims more than the bytes behind it can hold, for
    memory and time are spent on what it claims.

    A photograph of more than 16 million pixels takes a byte for every 64 of them at
    least, and a JPEG file comes in tens of scans, not in thousands; that mark also
    occurs by chance in what some cameras append.
    """
    width, height = size
    if width * height > max(_FREE_PIXELS, _PIXELS_PER_BYTE * len(image)):
        raise ValueError(
            f"its header claims {width}x{height} pixels, too many for {len(image)} bytes"
        )
    scans = image.count(_START_OF_SCAN)
    if scans > _FREE_SCANS + len(image) // _BYTES_PER_SCAN:
        raise ValueError(f"it claims to come in {scans} scans")


@typed
def decode_image(image: bytes, file_name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes a whole JPEG or PNG photograph to RGB; grayscale, palette and CMYK are
    converted, an EXIF rotation is not applied.

    Raises:
      InputError: the bytes are no such image, end before the last row, or claim to hold
        far more than they can.
    """
    with _opened(image, f"image {file_name}", ("JPEG", "PNG")) as opened:
        _check_claims(image, opened.size)
        return np.array(opened if opened.mode == "RGB" else opened.convert("RGB"))


@typed
def decode_mask(mask: bytes, file_name: str) -> UInt8[np.ndarray, "h w"]:
    """Decodes a mask to class values: the index of a palette PNG, the value of an 8-bit
    grayscale one.

    Raises:
      InputError: the bytes are no PNG, are cut off, claim more pixels than Pillow's
        `MAX_IMAGE_PIXELS` (a mask of background alone takes next to no bytes, so they
        tell nothing), or hold colours instead of class values.
    """
    with _opened(mask, f"mask {file_name}", ("PNG",)) as opened:
        width, height = opened.size
        if width * height > Image.MAX_IMAGE_PIXELS:
            raise ValueError(f"its header claims {width}x{height} pixels")
        mode, values = opened.mode, np.array(opened) if opened.mode in ("P", "L") else None
    if values is None:
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
