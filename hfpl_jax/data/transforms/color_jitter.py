"""Random changes of brightness, contrast, saturation and hue, in NumPy and Pillow, with
torchvision's meaning on 8-bit images.

Each changes a pixel by itself; the contrast's also depends on the mean of all of them.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageStat

from hfpl_jax.data.transforms.resample import RGB
from hfpl_jax.shapes import UInt8, typed

_SHADES = bytes(range(256))


def _from_level(image: Image.Image, level: int, factor: float) -> Image.Image:
    """Values `factor` times as far from a grey level, by a table of all that there
    are.
    """
    shades = Image.frombytes("L", (256, 1), _SHADES)
    table = Image.blend(Image.new("L", shades.size, level), shades, factor)
    return image.point(list(table.tobytes()) * 3)


def _mean_level(image: Image.Image) -> int:
    return int(ImageStat.Stat(image.convert("L")).mean[0] + 0.5)


def _shift_hue(image: Image.Image, turn: float) -> Image.Image:
    """Pillow's way there and back, for all 2^24 colours, but back in integers: a channel
    is v (1 - s a / 255^2), where 255 hue levels are a circle of six sectors and `a`,
    from 0 to 255, is how far the hue is from the channel's own.
    """
    hue, *others = image.convert("HSV").split()
    saturation, value = map(np.asarray, others)
    levels = 6 * (np.arange(256) + int(turn * 255)) % (6 * 256)
    vs = np.multiply(value, saturation, dtype=np.uint32)
    rounded = np.multiply(value, 255**2, dtype=np.uint32) + np.uint32(255**2 // 2)
    turned = np.empty((*value.shape, 3), np.uint8)
    for channel, opposite in enumerate((765, 1275, 255)):
        apart = np.abs((levels - opposite + 765) % 1530 - 765)
        away = np.asarray(hue.point(np.clip(510 - apart, 0, 255).tolist()))
        loss = np.multiply(vs, away, dtype=np.uint32)
        turned[..., channel] = np.subtract(rounded, loss, out=loss) // np.uint32(255**2)
    return Image.fromarray(turned)


_ADJUSTMENTS = {
    "brightness": lambda image, factor: _from_level(image, 0, factor),
    "contrast": lambda image, factor: _from_level(image, _mean_level(image), factor),
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "hue": _shift_hue,
}


@typed
def adjust_color(image: RGB, kind: str, amount: float) -> RGB:
    """Changes one property of the colours.

    Args:
      image: the photograph.
      kind: "brightness" (blend with black), "contrast" (blend with the mean grey
        level), "saturation" (blend with the grey image) or "hue".
      amount: blending factor (1 = unchanged, below 1 = less of it), or for hue the turn
        of the colour circle in [-0.5, 0.5].
    """
    return np.asarray(_ADJUSTMENTS[kind](Image.fromarray(image), amount))


def random_adjustments(
    rng: np.random.Generator,
    *,
    brightness: float = 0.3,
    contrast: float = 0.3,
    saturation: float = 0.3,
    hue: float = 0.1,
) -> list[tuple[str, float]]:
    """(kind, amount) of the four, see `adjust_color`, in random order: factors uniform
    in [1 - x, 1 + x], the hue's turn uniform in [-hue, hue].
    """
    spread = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    amounts = {
        kind: rng.uniform(-x, x) + (0.0 if kind == "hue" else 1.0) for kind, x in spread.items()
    }
    return [(str(kind), amounts[str(kind)]) for kind in rng.permutation(list(spread))]


@typed
def random_color_jitter(rng: np.random.Generator, image: RGB, **spread: float) -> RGB:
    """An image with `random_adjustments(rng, **spread)`, one after another."""
    height, width = image.shape[:2]
    adjustments = random_adjustments(rng, **spread)
    return adjusted_part(image, adjustments, slice(0, height), slice(0, width))


@typed
def adjusted_part(
    image: RGB, adjustments: Sequence[tuple[str, float]], rows: slice, columns: slice
) -> UInt8[np.ndarray, "height2 width2 3"]:
    """Rows and columns of the image that has these adjustments, of which each kind is
    there once at most.

    Once the mean level that the contrast needs is known, only the part is adjusted.
    """
    if not adjustments:
        return image[rows, columns]
    photo, waiting = Image.fromarray(image), list(adjustments)
    level = 0
    if "contrast" in dict(waiting):
        while waiting[0][0] != "contrast":
            kind, amount = waiting.pop(0)
            photo = _ADJUSTMENTS[kind](photo, amount)
        level = _mean_level(photo)
    photo = photo.crop((columns.start, rows.start, columns.stop, rows.stop))
    for kind, amount in waiting:
        if kind == "contrast":
            photo = _from_level(photo, level, amount)
        else:
            photo = _ADJUSTMENTS[kind](photo, amount)
    return np.asarray(photo)
