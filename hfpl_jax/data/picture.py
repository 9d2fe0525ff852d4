"""One picture for everybody: what a photograph shows, upright, in 8 bits of RGB.

Decoders disagree on an EXIF orientation, 16 bits a channel, transparency, CMYK,
palettes and animations: some apply them, others keep or ignore them. Here is what we
take them for; preparation stores such a photograph anew, as a plain PNG, so that nobody
has to choose again.
"""

import numpy as np
from PIL import ExifTags, Image

from hfpl_jax.data.image_file import png_depth, refusal

_WHITE = (255, 255, 255)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of each EXIF orientation upright; 1 stands for upright."""

TURNED = "turned upright by the EXIF orientation"
_DARK = 16


def plain_pixels(opened: Image.Image, data: bytes, what: str) -> tuple[np.ndarray, list[str]]:
    """Pixels uint8 [h, w, 3] of an opened JPEG or PNG, and what had to be done to get
    them: nothing for an upright 8-bit RGB or grayscale one.

    - An EXIF orientation is applied.
    - Of 16 bits a channel the upper 8 are kept: 65535 becomes 255.
    - What is transparent is laid on white.
    - CMYK is inverted as Adobe's programs write it. A palette is replaced by its
      colours.
    - Of an animated PNG the first picture is taken.

    Raises:
      InputError: it is not told what the pixels mean: CMYK without Adobe's mark, 16
        bits a channel of which next to nothing is used, or with one transparent colour.
    """
    opened.load()  # a PNG may hold its orientation behind its pixels
    done = []
    bits, _ = png_depth(data) if opened.format == "PNG" else (8, 0)
    transparent = "transparency" in opened.info or opened.mode in ("RGBA", "LA")
    if opened.format == "PNG" and getattr(opened, "is_animated", False):
        done.append("the first picture of an animation")
    if bits == 16 and "transparency" in opened.info:
        raise refusal(
            what,
            "it has 16 bits a channel and one transparent colour",
            "Save it with 8 bits a channel",
        )
    if opened.mode == "CMYK" and "adobe" not in opened.info:
        raise refusal(
            what,
            "it is CMYK without Adobe's mark, so whether 0 is no ink or all of it is not told",
            "Save it as RGB",
        )
    if opened.mode == "I;16":
        picture = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
    elif transparent:
        colours = opened.convert("RGBA")
        picture = Image.new("RGB", opened.size, _WHITE)
        picture.paste(colours, mask=colours)
        done.append("transparent, laid on white")
    else:
        picture = opened
    if bits == 16:
        done.append("brought from 16 bits a channel to 8")
    elif opened.mode == "P":
        done.append("a palette replaced by its colours")
    elif bits < 8:
        done.append(f"brought from {bits} bit{'s' * (bits > 1)} a pixel to 8")
    elif opened.mode == "CMYK":
        done.append("converted from CMYK")
    turn = _TURNS.get(_orientation(opened))
    if turn is not None:
        picture = picture.transpose(turn)
        done.append(TURNED)
    if picture.mode == "L":  # without Pillow's own RGB, of 4 bytes a pixel
        pixels = np.repeat(np.asarray(picture)[..., None], 3, axis=2)
    else:
        pixels = np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
    if bits == 16 and not transparent and pixels.max() < _DARK:
        raise refusal(
            what,
            f"it has 16 bits a channel, but no value of it reaches {_DARK << 8} of 65535, so in 8 "
            "bits it would be next to black",
            "Stretch its values to 0..65535, or save it with 8 bits a channel",
        )
    return pixels, done


def _orientation(opened: Image.Image) -> int:
    """EXIF's orientation; that of damaged EXIF, which other programs ignore too, is
    1.
    """
    try:
        return int(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever damaged EXIF makes Pillow raise
        return 1
