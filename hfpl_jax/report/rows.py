"""Photographs and their maps in the page report.html: a row of panels each."""

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

from hfpl_jax.report.tiles import Tile, legend, panels

PANEL_BOX = (440, 330)


def rows_of_panels(tiles: Sequence[Tile], class_names: Sequence[str]) -> str:
    """The HTML of a legend and a row of panels for each photograph.

    Args:
      tiles: at least one, all with the same panels.
      class_names: the foreground classes; label i is class_names[i - 1].
    """

    def chip(colour: Sequence[int], name: str) -> str:
        style = f"background:rgb{tuple(colour)}"
        return f'<span><i class="chip" style="{style}"></i>{html.escape(name)}</span>'

    chips = "".join(chip(colour, name) for name, colour in legend(tiles, class_names))
    figures = []
    for tile in tiles:
        row = "".join(
            _panel(name, panel)
            for name, panel in zip(tile.columns, panels(tile, PANEL_BOX), strict=True)
        )
        caption = (
            f"{html.escape(tile.file_name)} <span>{html.escape(', '.join(tile.labels))}</span>"
        )
        figures.append(
            f'<figure class="tile"><div class="row">{row}</div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    order = f'<p class="titles">From left to right: {", ".join(tiles[0].columns)}.</p>'
    return f'{order}<div class="legend">{chips}</div><div class="tiles">{"".join(figures)}</div>'


def _panel(name: str, picture: Image.Image | None) -> str:
    if picture is None:
        return '<div class="panel">no mask</div>'
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    data = base64.b64encode(stream.getvalue()).decode()
    source = f"data:image/jpeg;base64,{data}"
    return f'<div class="panel"><img alt="{name}" title="{name}" src="{source}"></div>'
