"""What a photograph shows: one upright picture in 8 bits of RGB, whatever its file
holds.
"""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tiny_datasets import config, make_folder, write, write_mask

from hfpl_jax.data.example import decode_image, decode_mask, plain_image
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError

SHADES = np.arange(256, dtype=np.uint8).reshape(8, 32)
COLOURS = np.stack([SHADES, SHADES[::-1], 255 - SHADES], axis=-1)


def saved(pixels, format="PNG", mode=None, **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(buffer, format, **options)
    return buffer.getvalue()


def png(samples, colour_type, bits=16, chunks=b""):
    """A PNG of [h, w, c] samples that Pillow does not write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunks
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=-1)


def seen(data):
    """What the network sees; preparation stores what every decoder sees as the same."""
    pixels = decode_image(data, "x")
    stored = plain_image(data, "x")
    assert (stored.height, stored.width) == pixels.shape[:2]
    with Image.open(io.BytesIO(stored.image)) as opened:
        assert opened.mode in ("RGB", "L")
        assert "transparency" not in opened.info
        assert opened.getexif().get(0x0112, 1) == 1
        np.testing.assert_array_equal(np.asarray(opened.convert("RGB")), pixels)
    np.testing.assert_array_equal(decode_image(stored.image, "x"), pixels)
    return pixels


UPRIGHT = np.zeros((3, 4, 3), np.uint8)
UPRIGHT[0, 0], UPRIGHT[0, 3], UPRIGHT[2, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
STORED = {  # what a camera writes that has to be brought upright as the number says
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT),
    7: np.rot90(UPRIGHT, 2).swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_an_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(np.ascontiguousarray(STORED[orientation]), exif=exif)
    np.testing.assert_array_equal(seen(data), UPRIGHT)
    assert (plain_image(data, "x").image == data) == (orientation == 1)


def test_exif_that_is_damaged_turns_nothing():
    data = saved(COLOURS, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert plain_image(data, "x").image == data
    assert seen(data).shape == COLOURS.shape


def test_of_16_bits_the_upper_8_are_kept():
    deep = np.array([[0, 255, 256, 32896], [65279, 65280, 65534, 65535]], np.uint16)
    np.testing.assert_array_equal(seen(saved(deep)), grey([[0, 0, 1, 128], [254, 255, 255, 255]]))
    colours = np.stack([deep, deep[:, ::-1], deep // 2], axis=-1)
    np.testing.assert_array_equal(seen(png(colours, 2)), colours >> 8)
    for factor in (256, 257):  # both ways of writing 8 bits in 16
        np.testing.assert_array_equal(seen(saved(SHADES.astype(np.uint16) * factor)), grey(SHADES))


def test_what_is_transparent_is_laid_on_white():
    alpha = np.array([[0, 255, 128]], np.uint8)
    red = np.dstack([np.full_like(alpha, 255), 0 * alpha, 0 * alpha, alpha])
    on_white = [[[255, 255, 255], [255, 0, 0], [255, 127, 127]]]
    np.testing.assert_array_equal(seen(saved(red)), on_white)
    np.testing.assert_array_equal(seen(png(red * np.uint16(257), 6)), on_white)
    shade = np.dstack([np.full_like(alpha, 55), alpha])
    np.testing.assert_array_equal(seen(saved(shade)), grey([[255, 55, 155]]))
    np.testing.assert_array_equal(
        seen(saved(SHADES, transparency=7))[0], grey([[*range(7), 255, *range(8, 32)]])[0]
    )
    np.testing.assert_array_equal(
        seen(saved(COLOURS, transparency=(0, 224, 255)))[0, :2], [[255, 255, 255], COLOURS[0, 1]]
    )
    opaque = np.dstack([COLOURS, np.full_like(SHADES, 255)])
    np.testing.assert_array_equal(seen(saved(opaque)), COLOURS)


def palette_picture():
    image = Image.fromarray(np.array([[0, 1, 2, 1]], np.uint8))
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 250])
    return image


def test_a_palette_becomes_its_colours():
    first, second, third = [10, 20, 30], [200, 0, 0], [0, 0, 250]
    image = palette_picture()
    np.testing.assert_array_equal(seen(saved(image)), [[first, second, third, second]])
    np.testing.assert_array_equal(
        seen(saved(image, transparency=1)), [[first, [255] * 3, third, [255] * 3]]
    )
    np.testing.assert_array_equal(
        seen(saved(image, transparency=bytes([255, 128, 0]))),
        [[first, [227, 127, 127], [255] * 3, [227, 127, 127]]],
    )


def test_black_and_white_is_black_and_white():
    np.testing.assert_array_equal(
        seen(saved(Image.fromarray(np.array([[0, 255, 255]], np.uint8)).convert("1"))),
        grey([[0, 255, 255]]),
    )
    two_bits = png(np.array([[[0b00_01_10_11]]]), 0, bits=8).replace(  # four pixels in a byte
        struct.pack(">IIBB", 1, 1, 8, 0), struct.pack(">IIBB", 4, 1, 2, 0)
    )
    header = two_bits[12:29]
    two_bits = two_bits.replace(two_bits[29:33], struct.pack(">I", zlib.crc32(header)))
    np.testing.assert_array_equal(seen(two_bits), grey([[0, 85, 170, 255]]))


def test_cmyk_is_inverted_as_adobe_writes_it():
    red = Image.new("RGB", (32, 32), (200, 20, 20))
    data = saved(red, "JPEG", "CMYK", quality=95)
    np.testing.assert_allclose(seen(data).reshape(-1, 3).mean(0), (200, 20, 20), atol=2)
    place = data.index(b"\xff\xee")  # Adobe's mark, which says that the inks are inverted
    bare = data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4]) :]
    with pytest.raises(InputError, match=r"image x cannot be decoded \(it is CMYK.*Save it as RGB"):
        decode_image(bare, "x")


def test_of_an_animation_the_first_picture_is_taken():
    data = saved(COLOURS, save_all=True, append_images=[Image.fromarray(COLOURS[::-1].copy())])
    np.testing.assert_array_equal(seen(data), COLOURS)


PLAIN = {
    "RGB PNG": saved(COLOURS),
    "gray PNG": saved(SHADES),
    "RGB JPEG": saved(COLOURS, "JPEG"),
    "gray JPEG": saved(SHADES, "JPEG"),
    "JPEG with more pictures behind it": saved(COLOURS, "MPO", save_all=True),
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_a_plain_photograph_keeps_its_bytes(data):
    assert plain_image(data, "x").image == data
    assert plain_image(data, "x").changes == ()
    seen(data)


KEY = struct.pack(">I4sHI", 2, b"tRNS", 7, zlib.crc32(b"tRNS\0\7"))  # of one transparent gray


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved(np.full((2, 3), 4095, np.uint16)), r"no value of it reaches 4096 .*Stretch"),
        (png(np.full((2, 3, 3), 4095), 2), r"no value of it reaches 4096 .*Stretch"),
        (png(np.full((2, 3, 1), 9000), 0, chunks=KEY), r"one transparent .*Save it with 8 bits"),
    ],
)
def test_pixels_of_which_nobody_knows_what_they_mean(data, message):
    with pytest.raises(InputError, match=r"^The image x cannot be decoded \(it .*" + message):
        decode_image(data, "x")


NOT_READ = {
    "a WebP picture": saved(COLOURS, "WEBP"),
    "a GIF picture": saved(palette_picture(), "GIF"),
    "a BMP picture": saved(COLOURS, "BMP"),
    "a TIFF picture or a camera's raw file": saved(COLOURS, "TIFF"),
    "a HEIC picture": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
    "an AVIF picture": b"\0\0\0\x1cftypavif\0\0\0\0mif1miaf" + bytes(200),
    "a JPEG 2000 picture": b"\0\0\0\x0cjP  \r\n\x87\n",
    "a JPEG XL picture": b"\xff\x0a" + bytes(9),
    "a film": b"\0\0\0\x18ftypmp42" + bytes(20),
}


@pytest.mark.parametrize("kind", NOT_READ)
def test_a_format_that_is_not_read_is_named(kind):
    with pytest.raises(InputError) as error:
        decode_image(NOT_READ[kind], "photos/x.jpg")
    assert str(error.value) == (
        f"The image photos/x.jpg cannot be decoded (it is {kind}, not JPEG or PNG). Save it as "
        "JPEG or PNG (its name may stay), or set config.data.on_bad_record = 'skip'."
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"\(it is empty\)\. Copy or download it again"),
        (b"\n<!DOCTYPE html><html>404", r"\(it is a web page, .*Download the picture itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid", r"pointer of git-lfs.*`git lfs pull`"),
        (saved(COLOURS, "JPEG")[:-90], r"\(.+\)\. It is truncated or damaged: copy or download it"),
        (b"no picture", r"\(it is not JPEG or PNG\)\. It is damaged or of another format"),
    ],
)
def test_what_is_no_picture_is_named(data, message):
    with pytest.raises(InputError, match=message):
        decode_image(data, "x")


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (4000, 2)])
def test_sizes_at_the_edge(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    np.testing.assert_array_equal(seen(saved(pixels)), pixels)


def test_a_mask_of_fewer_bits_is_refused():
    """Its shades would be read as 0, 17, 34, ...: other classes than meant."""
    four_bits = png(np.array([[[0x12]]]), 0, bits=8).replace(
        struct.pack(">IIBB", 1, 1, 8, 0), struct.pack(">IIBB", 2, 1, 4, 0)
    )
    four_bits = four_bits.replace(four_bits[29:33], struct.pack(">I", zlib.crc32(four_bits[12:29])))
    with pytest.raises(InputError, match=r"mask x has mode L with 4 bits.*8-bit grayscale"):
        decode_mask(four_bits, "x")


@pytest.fixture
def turned(tmp_path):
    """Three photographs, of which the second was taken with the camera turned; its mask
    is drawn on the upright picture.
    """
    root = make_folder(
        tmp_path / "photos",
        "file_name,labels\n1.jpg,cat\n2.jpg,cat\n3.jpg,cat\n",
        ("1.jpg", "3.jpg"),
    )
    upright = np.full((20, 30, 3), 90, np.uint8)
    upright[2:10, 3:9] = (200, 30, 30)
    exif = Image.Exif()
    exif[0x0112] = 6
    write(
        root / "2.jpg",
        saved(
            np.ascontiguousarray(np.rot90(upright)), "JPEG", exif=exif, subsampling=0, quality=95
        ),
    )
    write_mask(root / "masks/2.png", (upright[..., 0] == 200))
    return root


def test_a_photograph_and_its_mask_lie_upright_in_the_dataset(tmp_path, turned, caplog):
    caplog.set_level(logging.INFO)
    options = {"masks": "masks"}
    dataset = prepare(config("folder", turned, options=options), tmp_path / "out")
    first, second, third = dataset.split("train")
    assert first.image == (turned / "1.jpg").read_bytes()
    assert third.image == (turned / "3.jpg").read_bytes()
    assert (second.file_name, second.height, second.width) == ("2.jpg", 20, 30)
    image = decode_image(second.image, "").astype(int)
    mask = decode_mask(second.segmentation_mask, "")
    assert mask.shape == (20, 30)
    assert mask.sum() == 8 * 6
    assert image[mask == 1].mean(0) == pytest.approx((200, 30, 30), abs=6)
    assert image[mask == 0].mean() == pytest.approx(90, abs=6)
    assert (
        "folder train: 1 of 3 photographs are stored anew, as PNG: turned upright by the EXIF "
        "orientation (the first is 2.jpg)." in caplog.messages
    )


def test_a_mask_of_the_picture_as_it_is_stored_names_the_orientation(tmp_path, turned):
    write_mask(turned / "masks/2.png", np.zeros((30, 20)))
    with pytest.raises(
        InputError,
        match=r"2\.png is 20x30 .* photograph is 30x20"
        r".*EXIF orientation of .*2\.jpg turns it.*upright",
    ):
        prepare(config("folder", turned, options={"masks": "masks"}), tmp_path / "out")


def test_an_interrupted_preparation_keeps_what_was_stored_anew(tmp_path, turned):
    whole = (turned / "3.jpg").read_bytes()
    write(turned / "3.jpg", whole[:300])
    with pytest.raises(InputError, match=r"3\.jpg"):
        prepare(config("folder", turned), tmp_path / "out")
    write(turned / "3.jpg", whole)
    resumed = prepare(config("folder", turned), tmp_path / "out").split("train")[1]
    afresh = prepare(config("folder", turned), tmp_path / "other").split("train")[1]
    assert resumed.image == afresh.image
    assert (resumed.height, resumed.width) == (20, 30)
