import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from hfpl_jax.masks import voc_palette
from hfpl_jax.report.grid import CAPTION, CARD, CELL, GAP, HEADER, MARGIN, grid_png
from hfpl_jax.report.tiles import WHITISH, Tile, panels

NAMES = ("cat", "dog")


def tile(height, width, *, truth=True, label=2, more=0):
    """With `more` label maps behind the truth and the CAM."""
    labels = np.full((height, width), label, np.uint8)
    image = np.full((height, width, 3), (10, 200, 30), np.uint8)
    cam = np.zeros((height, width), np.float32)
    maps = {"truth": labels if truth else None, "CAM": cam}
    maps |= {f"map {index}": np.full_like(labels, index) for index in range(more)}
    return Tile("a_long_name" * 30 + ".jpg", image, maps, NAMES * 50)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 1, 5), (6, 2, 3), (9, 2, 5)])
@pytest.mark.parametrize("more", [0, 2])
def test_size_follows_the_number_of_tiles_and_of_panels(count, columns, rows, more):
    image = Image.open(io.BytesIO(grid_png([tile(30, 40, more=more)] * count, class_names=NAMES)))
    assert image.format == "PNG"
    panels = columns * (3 + more)
    assert panels * CELL[0] < image.width < (panels + 1) * CELL[0]
    assert rows * CELL[1] < image.height < rows * (CELL[1] + 40) + 150


def cell(pixels, row, column):
    """The pixels of a picture's place."""
    top = MARGIN + HEADER + row * (CELL[1] + CAPTION)
    left = MARGIN + column * (CELL[0] + GAP)
    return pixels[top : top + CELL[1], left : left + CELL[0]]


def test_every_picture_stands_in_its_place():
    shown = [tile(93, 124, more=2), tile(300, 20, truth=False, more=2), tile(1, 1, more=2)]
    pixels = np.asarray(Image.open(io.BytesIO(grid_png(shown, class_names=NAMES))))
    for row, one in enumerate(shown):
        assert len(panels(one, CELL)) == 5
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


def test_the_names_of_the_panels_stand_above_them():
    """Each name is written at its panel's left edge, and the same name looks the
    same.
    """

    def heads(names):
        labels = np.zeros((9, 12), np.uint8)
        image = np.zeros((9, 12, 3), np.uint8)
        maps = dict.fromkeys(names, labels)
        png = grid_png([Tile("a.jpg", image, maps, ())], class_names=NAMES)
        pixels = np.asarray(Image.open(io.BytesIO(png)))[MARGIN : MARGIN + HEADER]
        places = [MARGIN + (1 + i) * (CELL[0] + GAP) for i in range(len(names))]
        return [pixels[:, x : x + CELL[0]] for x in places]

    one, other = heads(("CRF", "CAM", "pseudo-label"))[:2]
    again = heads(("CAM", "CRF"))
    np.testing.assert_array_equal(again[0], other)
    np.testing.assert_array_equal(again[1], one)
    assert (one != other).any()
    assert (one != 255).any()
