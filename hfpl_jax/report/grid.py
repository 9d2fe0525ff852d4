"""A picture of the report: a row of panels for each photograph, and a legend."""

import bisect
import functools
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from hfpl_jax.report.tiles import IGNORED, Tile, legend, panels

CELL = (248, 186)
GAP = 8
MARGIN = 28
CAPTION = 30
HEADER = 30
PAPER, CARD, INK, FAINT = "#ffffff", "#f1f3f6", "#1c2430", "#7b8694"
ONE_COLUMN = 5
"""Up to so many images are listed in one column; more in two."""


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def grid_png(tiles: Sequence[Tile], *, class_names: Sequence[str]) -> bytes:
    """The encoded PNG of all tiles, in one or two columns of rows, with the classes'
    colours at the foot.

    Args:
      tiles: at least one, all with the same panels.
      class_names: the foreground classes; label i is class_names[i - 1].
    """
    columns = 1 if len(tiles) <= ONE_COLUMN else 2
    rows = -(-len(tiles) // columns)
    names = tiles[0].columns
    row_width, row_height = len(names) * (CELL[0] + GAP) - GAP, CELL[1] + CAPTION
    width = 2 * MARGIN + columns * row_width + (columns - 1) * MARGIN
    foot = _chips(legend(tiles, class_names), width - 2 * MARGIN)
    height = 2 * MARGIN + HEADER + rows * row_height + foot.height
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    for column in range(columns):
        for i, name in enumerate(names):
            x = MARGIN + column * (row_width + MARGIN) + i * (CELL[0] + GAP)
            draw.text((x + 2, MARGIN), name, fill=INK, font=_font(17))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        x, y = MARGIN + column * (row_width + MARGIN), MARGIN + HEADER + row * row_height
        for i, panel in enumerate(panels(tile, CELL)):
            _paste(page, draw, panel, (x + i * (CELL[0] + GAP), y))
        name = _shorten(tile.file_name, _font(13), row_width // 2)
        draw.text((x + 2, y + CELL[1] + 5), name, fill=FAINT, font=_font(13))
        start = x + 10 + _font(13).getlength(name)
        draw.text(
            (start, y + CELL[1] + 5),
            _shorten(", ".join(tile.labels), _font(13), x + row_width - start),
            fill=INK,
            font=_font(13),
        )
    page.paste(foot, (MARGIN, height - MARGIN - foot.height))
    stream = io.BytesIO()
    page.save(stream, "PNG")
    return stream.getvalue()


def _paste(
    page: Image.Image, draw: ImageDraw.ImageDraw, panel: Image.Image | None, corner: tuple[int, int]
) -> None:
    x, y = corner
    draw.rounded_rectangle((x, y, x + CELL[0] - 1, y + CELL[1] - 1), radius=4, fill=CARD)
    if panel is None:
        draw.text(
            (x + CELL[0] / 2, y + CELL[1] / 2), "no mask", fill=FAINT, font=_font(15), anchor="mm"
        )
    else:
        page.paste(panel, (x + (CELL[0] - panel.width) // 2, y + (CELL[1] - panel.height) // 2))


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    fitting = bisect.bisect_right(
        range(len(text)), width, key=lambda length: font.getlength(text[:length] + "...")
    )
    return text[: max(0, fitting - 1)] + "..."


def _chips(entries: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> Image.Image:
    """Colour chips with names, wrapped to the width."""
    font, line = _font(15), 26
    places, x, y = [], 0, 10
    for name, _ in entries:
        length = 26 + int(font.getlength(name)) + 20
        if x and x + length > width:
            x, y = 0, y + line
        places.append((x, y))
        x += length
    image = Image.new("RGB", (width, y + line if entries else 0), PAPER)
    draw = ImageDraw.Draw(image)
    for (name, colour), (x, y) in zip(entries, places, strict=True):
        draw.rounded_rectangle(
            (x, y + 2, x + 16, y + 18),
            radius=4,
            fill=colour,
            outline=FAINT if name == IGNORED else None,
        )
        draw.text((x + 24, y + 1), name, fill=INK, font=font)
    return image
