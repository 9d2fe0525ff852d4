"""Photographs and masks: whatever the bytes, an array of the promised kind or a clear
error, in little memory and time.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import contained, damaged, fuzz, outcome
from PIL import Image, PngImagePlugin

from hfpl_jax.data.example import decode_image, decode_mask
from hfpl_jax.errors import InputError


def encoded(image, format, **options):
    data = io.BytesIO()
    Image.fromarray(image).save(data, format, **options)
    return data.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *, colour_type=2, pixels=b"", before=b""):
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", zlib.compress(pixels, 9))
        + chunk(b"IEND", b"")
    )


def checked(data):
    """A PNG whose checksums are right again, so that what they would hide is read."""
    whole, place = data[:8], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if place + 12 + length > len(data):
            break
        whole += chunk(data[place + 4 : place + 8], data[place + 8 : place + 8 + length])
        place += 12 + length
    return whole + data[place:]


def resized(jpeg, width, height):
    """A JPEG whose header claims another size."""
    start = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2"))
    return jpeg[: start + 5] + struct.pack(">HH", height, width) + jpeg[start + 9 :]


PIXELS = np.random.default_rng(0).integers(0, 256, (24, 33, 3), np.uint8)
COMMENTED = PngImagePlugin.PngInfo()
COMMENTED.add_text("Comment", "a" * 50, zip=True)
PALETTE = Image.fromarray(PIXELS[..., 0]).quantize(20)
PALETTE_PNG = io.BytesIO()
PALETTE.save(PALETTE_PNG, "PNG", transparency=3)
TURNED = Image.Exif()
TURNED[0x0112] = 6
CMYK = io.BytesIO()
Image.fromarray(PIXELS).convert("CMYK").save(CMYK, "JPEG")

PHOTOGRAPHS = [
    encoded(PIXELS, "JPEG"),
    encoded(PIXELS, "JPEG", progressive=True, icc_profile=b"x" * 90),
    encoded(PIXELS[..., 0], "JPEG"),
    encoded(PIXELS, "PNG", pnginfo=COMMENTED),
    encoded(PIXELS[..., 0], "PNG", dpi=(72, 72)),
    PALETTE_PNG.getvalue(),
    encoded(PIXELS, "JPEG", exif=TURNED),
    encoded(PIXELS[..., 0].astype(np.uint16) << 8, "PNG", exif=TURNED),
    encoded(np.dstack([PIXELS, PIXELS[..., :1]]), "PNG"),
    encoded(PIXELS, "PNG", save_all=True, append_images=[PALETTE]),
    CMYK.getvalue(),
]
MASKS = [encoded(PIXELS[..., 0], "PNG"), PALETTE_PNG.getvalue()]


@fuzz(150)
@given(st.sampled_from(PHOTOGRAPHS).flatmap(damaged), st.booleans())
def test_damaged_photographs(data, repaired):
    result = outcome(
        "photos/a.jpg", decode_image, checked(data) if repaired else data, "photos/a.jpg"
    )
    assert isinstance(result, str) or (
        result.dtype == np.uint8 and result.ndim == 3 and result.size > 0
    )


@fuzz(100)
@given(st.sampled_from(MASKS).flatmap(damaged), st.booleans())
def test_damaged_masks(data, repaired):
    result = outcome("masks/a.png", decode_mask, checked(data) if repaired else data, "masks/a.png")
    assert isinstance(result, str) or (
        result.dtype == np.uint8 and result.ndim == 2 and result.size > 0
    )


SMALL = encoded(np.zeros((16, 16, 3), np.uint8), "JPEG")
LARGE = encoded(np.zeros((4096, 4096, 3), np.uint8), "JPEG", progressive=True)
LAST_SCAN = LARGE[LARGE.rfind(b"\xff\xda") : -2]
BOMB = zlib.compress(bytes(10**8))

HOSTILE_PHOTOGRAPHS = {
    "nothing": b"",
    "PNG of 9000x9000": png(9000, 9000),
    "PNG of 13000x13000": png(13_000, 13_000),
    "PNG of 2^31 squared": png(2**31 - 1, 2**31 - 1),
    "PNG of no rows": png(5, 0),
    "PNG of 30,000x30,000 in all its bytes": png(30_000, 30_000, pixels=bytes(2**26)),
    "PNG with a bomb of text": png(
        4, 4, pixels=bytes(4 * 13), before=chunk(b"zTXt", b"a\0\0" + BOMB)
    ),
    "PNG with a bomb of a colour profile": png(
        4, 4, pixels=bytes(4 * 13), before=chunk(b"iCCP", b"a\0\0" + BOMB)
    ),
    "JPEG of 9000x9000": resized(SMALL, 9000, 9000),
    "JPEG of 65535x65535": resized(SMALL, 65_535, 65_535),
    "JPEG of 2000 scans": LARGE[:-2] + LAST_SCAN * 2000 + LARGE[-2:],
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    b"%%EndComments\n(x) run\nshowpage\n",
    "BMP": encoded(PIXELS, "BMP"),
    "GIF": encoded(PIXELS, "GIF"),
    "TIFF": encoded(PIXELS, "TIFF"),
    "HTML": b"<!DOCTYPE html><html>404</html>",
}


@pytest.mark.parametrize("case", HOSTILE_PHOTOGRAPHS)
def test_hostile_photographs(case):
    assert "The image x.jpg cannot be decoded" in outcome(
        "x.jpg", decode_image, HOSTILE_PHOTOGRAPHS[case], "x.jpg"
    )


HOSTILE_MASKS = {
    "nothing": b"",
    "8000x8000 and no pixels": png(8000, 8000, colour_type=0),
    "100 MB of background": png(10_000, 10_000, colour_type=0, pixels=bytes(10_000 * 10_001)),
    "2^31 squared": png(2**31 - 1, 2**31 - 1, colour_type=0),
    "colours of 9000x9000": png(9000, 9000),
    "JPEG": encoded(PIXELS[..., 0], "JPEG"),
    "GIF": encoded(PIXELS[..., 0], "GIF"),
}


@pytest.mark.parametrize("case", HOSTILE_MASKS)
def test_hostile_masks(case):
    assert "The mask x.png" in outcome("x.png", decode_mask, HOSTILE_MASKS[case], "x.png")


def test_large_photographs_and_masks_are_still_read():
    """The bounds are for what no camera writes: not for 17 million pixels, nor for a
    mask of background alone.
    """
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 1), np.uint8)
    photograph = encoded(np.tile(np.repeat(noise, 3, axis=2), (9, 8, 1)), "JPEG", quality=30)
    with contained():
        assert decode_image(photograph, "a.jpg").shape == (3600, 4800, 3)
        assert decode_mask(encoded(np.zeros((3600, 4800), np.uint8), "PNG"), "a.png").shape == (
            3600,
            4800,
        )


@pytest.mark.parametrize("shade", [0, 240])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_large_scans_of_a_blank_page_are_read(format, shade):
    """They take next to no bytes, and are what their headers claim."""
    page = encoded(np.full((5000, 5000), shade, np.uint8), format, optimize=True)
    assert len(page) < 5000 * 5000 // 200
    with contained():
        pixels = decode_image(page, "a")
    assert pixels.shape == (5000, 5000, 3)
    assert pixels.min() == pixels.max() == shade


def test_scans_by_chance_in_what_a_camera_appends():
    noise = np.random.default_rng(0).bytes(2**22)  # the mark of a scan occurs every 64 KB
    assert noise.count(b"\xff\xda") > 30
    assert decode_image(SMALL + noise, "a.jpg").shape == (16, 16, 3)


def test_an_error_of_pillow_s_own_is_told(monkeypatch):
    def refuse(self):
        raise AssertionError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)
    with pytest.raises(InputError, match=r"a\.png cannot be decoded \(AssertionError\)"):
        decode_image(PHOTOGRAPHS[3], "a.png")
