import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from hfpl_jax.masks import voc_palette
from hfpl_jax.report.grid import CAPTION, CARD, CELL, GAP, HEADER, MARGIN, grid_png
from hfpl_jax.report.tiles import WHITISH, Tile, panels

NAMES = ("cat", "dog")


def tile(height, width, *, truth=True, label=2):
    labels = np.full((height, width), label, np.uint8)
    image = np.full((height, width, 3), (10, 200, 30), np.uint8)
    return Tile(
        "a_long_name" * 30 + ".jpg",
        image,
        labels if truth else None,
        np.zeros((height, width), np.float32),
        labels,
        NAMES * 50,
    )


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 1, 5), (6, 2, 3), (9, 2, 5)])
def test_size_follows_the_number_of_tiles(count, columns, rows):
    image = Image.open(io.BytesIO(grid_png([tile(30, 40)] * count, class_names=NAMES)))
    assert image.format == "PNG"
    assert columns * 4 * CELL[0] < image.width < (columns * 4 + 1) * CELL[0]
    assert rows * CELL[1] < image.height < rows * (CELL[1] + 40) + 150


def cell(pixels, row, column):
    """The pixels of a picture's place."""
    top = MARGIN + HEADER + row * (CELL[1] + CAPTION)
    left = MARGIN + column * (CELL[0] + GAP)
    return pixels[top : top + CELL[1], left : left + CELL[0]]


def test_every_picture_stands_in_its_place():
    shown = [tile(93, 124), tile(300, 20, truth=False, label=1), tile(1, 1)]
    pixels = np.asarray(Image.open(io.BytesIO(grid_png(shown, class_names=NAMES))))
    for row, one in enumerate(shown):
        for column, panel in enumerate(panels(one, CELL)):
            place = cell(pixels, row, column)
            if panel is None:  # an empty card with the words "no mask"
                assert (row, column) == (1, 1)
                assert (place == ImageColor.getrgb(CARD)).all(axis=-1).mean() > 0.9
                continue
            top, left = (CELL[1] - panel.height) // 2, (CELL[0] - panel.width) // 2
            found = place[top : top + panel.height, left : left + panel.width]
            np.testing.assert_array_equal(found, np.asarray(panel))


def test_the_legend_has_the_colours_of_the_classes_shown():
    pixels = np.asarray(Image.open(io.BytesIO(grid_png([tile(9, 12, label=2)], class_names=NAMES))))
    foot = pixels[-MARGIN - 30 :]

    def chip(colour):
        return int((foot == colour).all(axis=-1).sum())

    assert 250 < chip(voc_palette()[2]) <= 17 * 17
    assert 200 < chip(WHITISH) <= 17 * 17
    assert chip(voc_palette()[1]) == 0
