"""Instances over a photograph: each in a colour of its own, with its name and the peak
that it was found at.
"""

import colorsys
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hfpl_jax.instance import Instance, decode_rle
from hfpl_jax.shapes import Bool, UInt8, typed

_GOLDEN = (5**0.5 - 1) / 2
"""Of the circle of hues: however many there are, the next lies in the widest gap."""
_SMALLEST_FONT = 10

_Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclasses.dataclass(frozen=True)
class Things:
    """Instances of one photograph, as they are shown.

    Attributes:
      regions: bool [n, h, w].
      captions: what is written on each.
      peaks: row and column, None where there is none.
    """

    regions: np.ndarray
    captions: tuple[str, ...]
    peaks: tuple[tuple[int, int] | None, ...]

    @classmethod
    def of(
        cls, instances: Sequence[Instance], height: int, width: int, class_names: Sequence[str]
    ) -> "Things":
        """Instances of a photograph of this size, with their classes and scores."""
        regions = [decode_rle(one.segmentation) for one in instances]
        return cls(
            np.stack(regions) if regions else np.zeros((0, height, width), bool),
            tuple(_caption(one, class_names) for one in instances),
            tuple(one.peak for one in instances),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the photograph."""
        return self.regions.shape[1:]

    def resized(self, height: int, width: int) -> "Things":
        """For a photograph that was brought to another size."""
        regions = [
            np.asarray(Image.fromarray(region).resize((width, height), Image.Resampling.NEAREST))
            for region in self.regions
        ]
        down, across = height / self.shape[0], width / self.shape[1]
        peaks = [
            peak and (int((peak[0] + 0.5) * down), int((peak[1] + 0.5) * across))
            for peak in self.peaks
        ]
        return Things(
            np.stack(regions) if regions else np.zeros((0, height, width), bool),
            self.captions,
            tuple(peaks),
        )


def _caption(instance: Instance, class_names: Sequence[str]) -> str:
    name = class_names[instance.label]
    if instance.crowd:
        return f"crowd of {name}"
    return name if instance.score is None else f"{name} {instance.score:.2f}"


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of instance `number` of a photograph."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, 0.8, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


@typed
def overlay_instances(
    image: UInt8[np.ndarray, "h w 3"],
    regions: Bool[np.ndarray, "n h w"],
    captions: Sequence[str],
    peaks: Sequence[tuple[int, int] | None],
) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph, faded where there is no instance. Small ones lie on large ones;
    each has an outline, its caption, and a dot at its peak.
    """
    photo = image.astype(np.float32)
    grey = photo.mean(axis=-1, keepdims=True)
    out = 0.45 * photo + 0.25 * grey + 0.3 * 255
    order = sorted(range(len(regions)), key=lambda number: -int(regions[number].sum()))
    for number in order:
        region, colour = regions[number], np.asarray(colour_of(number), np.float32)
        out[region] = 0.5 * photo[region] + 0.5 * colour
        out[rim(region)] = colour
    picture = Image.fromarray(out.round().astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for number in order:
        if (peak := peaks[number]) is not None:
            _dot(draw, peak, colour_of(number))
    font = ImageFont.load_default(max(_SMALLEST_FONT, image.shape[0] // 20))
    written: list[_Box] = []
    for number in order:
        if captions[number] and regions[number].any():
            _write(draw, captions[number], regions[number], font, written)
    return np.asarray(picture)


@typed
def rim(region: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels of a region with a neighbour, of four, that is not in it; beyond the
    border of the photograph there is none.
    """
    around = np.pad(region, 1, mode="edge")
    inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return region & ~inner


def _dot(draw: ImageDraw.ImageDraw, peak: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """In the colour of its instance, with a white ring and a black one to be seen on
    it.
    """
    row, column = peak
    for radius, fill in ((4, (0, 0, 0)), (3, (255, 255, 255)), (1, colour)):
        draw.ellipse((column - radius, row - radius, column + radius, row + radius), fill=fill)


def _write(
    draw: ImageDraw.ImageDraw,
    caption: str,
    region: np.ndarray,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    written: list[_Box],
) -> None:
    """White on black, in the first place that the photograph has and no caption takes:
    at the top of a region that is not small, above it, below it, or anywhere under the
    top.
    """
    _, _, width, height = (math.ceil(side) + 2 for side in font.getbbox(caption))
    rows, columns = np.nonzero(region)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left = round(columns[rows == top].mean() - width / 2)
    left = max(min(left, region.shape[1] - width), 0)
    lowest = max(region.shape[0] - height, 0)
    places = [top + 1] if bottom - top > 2 * height else []
    places += [top - height, bottom, *range(top, lowest, height)]
    boxes = [
        (left, min(max(place, 0), lowest), left + width, min(max(place, 0), lowest) + height)
        for place in places
    ]
    free = (box for box in boxes if not any(_overlap(box, other) for other in written))
    box = next(free, boxes[0])
    written.append(box)
    draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(20, 24, 32))
    draw.text((box[0] + 1, box[1] + 1), caption, fill=(255, 255, 255), font=font)


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
