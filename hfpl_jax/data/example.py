"""One photograph with its labels, mask and instances, still encoded, and the codecs every reader
and builder shares.
"""

import dataclasses
import io

import numpy as np
from PIL import Image

from hfpl_jax.data.image_file import check_claims, open_image, png_depth, refusal
from hfpl_jax.data.picture import plain_pixels
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance
from hfpl_jax.shapes import UInt8, typed

_FAST = 3  # of PNG's levels of compression 0 to 9


@dataclasses.dataclass(frozen=True)
class Example:
    """What a split yields.

    Attributes:
      file_name: the photograph's name relative to its image folder, with extension.
      image: JPEG or PNG bytes, upright, 8 bits of RGB or gray: as they lie in the
        source where they are that, else a PNG of what `decode_image` makes of them,
        whatever the extension of `file_name`.
      labels: int64 [n], zero-based foreground classes, sorted, unique.
      segmentation_mask: PNG bytes, grayscale: 0 background, 1..C foreground (label +
        1), 255 ignore; None without a mask.
      height, width: of the image, of the mask and of the instances.
      instances: every thing of a class that is there, crowds as such; they may overlap.
        None where nobody says.
      confidence: PNG bytes, grayscale: of each pixel's label, 0 guessed, 255 certain;
        None but of exports with confidence maps.
    """

    file_name: str
    image: bytes
    labels: np.ndarray
    segmentation_mask: bytes | None
    height: int
    width: int
    instances: tuple[Instance, ...] | None = None
    confidence: bytes | None = None

    def pixels(self) -> np.ndarray:
        """uint8 [height, width, 3], of `decode_image`."""
        return decode_image(self.image, self.file_name)


@dataclasses.dataclass(frozen=True)
class OfExample:
    """Base of what is a photograph and more: it is read as its example is."""

    example: Example

    @property
    def file_name(self) -> str:
        return self.example.file_name

    @property
    def labels(self) -> np.ndarray:
        return self.example.labels

    @property
    def height(self) -> int:
        return self.example.height

    @property
    def width(self) -> int:
        return self.example.width

    def pixels(self) -> np.ndarray:
        return self.example.pixels()


@dataclasses.dataclass(frozen=True)
class PlainImage:
    """A photograph in which every decoder sees the same picture.

    Attributes:
      image: JPEG or PNG bytes, upright, 8 bits of RGB or gray.
      height, width: of the picture.
      changes: what was done to the photograph, in words; empty where `image` is as it
        was.
    """

    image: bytes
    height: int
    width: int
    changes: tuple[str, ...] = ()


@typed
def decode_image(image: bytes, file_name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes a whole JPEG or PNG photograph to upright RGB: see `plain_pixels` for
    what EXIF, 16 bits, transparency, CMYK and palettes become.

    Raises:
      InputError: the bytes are no such image, end before the last row, or claim to hold
        far more than they can.
    """
    return _decode(image, file_name)[0]


def plain_image(image: bytes, file_name: str) -> PlainImage:
    """The bytes of a photograph, or where decoders might disagree on them a PNG of what
    `decode_image` sees; raises what that does.
    """
    pixels, changes = _decode(image, file_name)
    if changes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=_FAST)
        image = buffer.getvalue()
    return PlainImage(image, *pixels.shape[:2], tuple(changes))


def _decode(image: bytes, file_name: str) -> tuple[np.ndarray, list[str]]:
    what = f"image {file_name}"
    with open_image(image, what, ("JPEG", "PNG")) as opened:
        check_claims(image, opened)
        return plain_pixels(opened, image, what)


@typed
def decode_mask(mask: bytes, file_name: str) -> UInt8[np.ndarray, "h w"]:
    """Decodes a mask to class values: the index of a palette PNG, the value of an 8-bit
    grayscale one.

    Raises:
      InputError: the bytes are no PNG, are cut off, claim more pixels than Pillow's
        `MAX_IMAGE_PIXELS` (a mask of background alone takes next to no bytes, so they
        tell nothing), or hold colours, or shades of fewer bits, instead of class
        values.
    """
    what = f"mask {file_name}"
    with open_image(mask, what, ("PNG",)) as opened:
        width, height = opened.size
        if width * height > Image.MAX_IMAGE_PIXELS:
            most = Image.MAX_IMAGE_PIXELS // 10**6
            reason = f"it claims {width}x{height} pixels, more than {most} million"
            raise refusal(what, reason, "Save it and its photograph with fewer pixels")
        bits, mode = png_depth(mask)[0], opened.mode
        if mode == "P" or (mode == "L" and bits == 8):
            return np.array(opened)
    raise InputError(
        f"The mask {file_name} has mode {mode} with {bits} bits a channel, but a mask holds class "
        "values, not colours or shades: save it as an 8-bit grayscale or palette PNG (0 "
        "background, 1..C classes, 255 ignore), or take the palette PNG it was converted from."
    )


@typed
def encode_mask(mask: UInt8[np.ndarray, "h w"]) -> bytes:
    """Encodes class values as an 8-bit grayscale PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return buffer.getvalue()
