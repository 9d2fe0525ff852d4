"""Opens the bytes of a photograph or mask: JPEG and PNG alone, and nothing that claims
more pixels than its bytes can hold. What is not read is named, with the cure.
"""

import contextlib
import io
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

from hfpl_jax.errors import InputError

SKIP = "set config.data.on_bad_record = 'skip'"
"""What else to do about a bad photograph, where a dataset is prepared."""

_SIGNATURES = (
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\0", "a TIFF picture or a camera's raw file"),
    (0, b"MM\0*", "a TIFF picture or a camera's raw file"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftypavis", "an AVIF picture"),
    (4, b"ftyphe", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC or AVIF picture"),
    (4, b"ftypmsf1", "a HEIC or AVIF picture"),
    (4, b"ftyp", "a film"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"<svg", "an SVG drawing"),
)
_WEB_PAGE = (b"<!doctype html", b"<html", b"<head")
_POINTER = b"version https://git-lfs"

_MOST_SCANS, _BYTES_PER_SCAN = 100, 2**15
_START_OF_SCAN = b"\xff\xda"
_PIXELS_PER_BYTE_OF_JPEG = 512
"""An 8x8 block takes a bit at least, in any order of coding."""
_BYTES_PER_BYTE_OF_PNG = 1032
"""What a byte of deflate can stand for at most."""
_CHANNELS_OF_PNG = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@contextlib.contextmanager
def open_image(data: bytes, what: str, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """Yields an image whose header is read; what is wrong with it becomes an
    InputError, in the block too.

    Other formats are not even tried: Pillow reads dozens, some of them by starting
    other programs.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as opened:
            yield opened
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise refusal(what, *_not_read(data, " or ".join(formats))) from error
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        reason = f"it claims more than {most} million pixels"
        raise refusal(what, reason, "Save it with fewer pixels") from error
    except Exception as error:  # whatever damaged bytes make Pillow raise
        reason = str(error) or type(error).__name__
        cure = "It is truncated or damaged: copy or download it again"
        raise refusal(what, reason, cure) from error


def refusal(what: str, reason: str, cure: str) -> InputError:
    return InputError(f"The {what} cannot be decoded ({reason}). {cure}, or {SKIP}.")


def _not_read(data: bytes, wanted: str) -> tuple[str, str]:
    """Why bytes that are no image of the `wanted` formats are not read, and the
    cure.
    """
    start = data[:512].lstrip().lower()
    if not data:
        return "it is empty", "Copy or download it again"
    if start.startswith(_WEB_PAGE):
        return f"it is a web page, not {wanted}", "Download the picture itself"
    if start.startswith(_POINTER):
        return (
            f"it is a pointer of git-lfs, not {wanted}",
            "Download the picture itself: `git lfs pull` in its repository",
        )
    for place, mark, name in _SIGNATURES:
        if data.startswith(mark, place):
            return (
                f"it is {name}, not {wanted}",
                f"Save it as {wanted} (its name may stay)",
            )
    return (
        f"it is not {wanted}",
        f"It is damaged or of another format: copy it again, or save it as {wanted}",
    )


def check_claims(data: bytes, opened: Image.Image) -> None:
    """Raises ValueError if the header of a photograph claims more than the bytes behind
    it can hold, for memory and time are spent on what it claims.

    The bounds are those of the formats, so that a scan of a blank page passes: an 8x8
    block of a JPEG takes a bit, and deflate makes 1032 bytes of one at most. A JPEG
    comes in tens of scans, not in thousands; the mark of one also occurs by chance in
    what some cameras append.
    """
    width, height = opened.size
    if opened.format == "PNG":
        bits, colour_type = png_depth(data)
        row = -(-width * bits * _CHANNELS_OF_PNG.get(colour_type, 1) // 8)
        too_many = row * height > _BYTES_PER_BYTE_OF_PNG * len(data)
    else:
        too_many = width * height > _PIXELS_PER_BYTE_OF_JPEG * len(data)
    if too_many:
        raise ValueError(
            f"its header claims {width}x{height} pixels, too many for {len(data)} bytes"
        )
    scans = data.count(_START_OF_SCAN)
    if scans > _MOST_SCANS + len(data) // _BYTES_PER_SCAN:
        raise ValueError(f"it claims to come in {scans} scans")


def png_depth(data: bytes) -> tuple[int, int]:
    """Bits a channel and colour type, from the header of a PNG."""
    header = data.index(b"IHDR") + 4
    return data[header + 8], data[header + 9]
