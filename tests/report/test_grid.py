import io

import numpy as np
import pytest
from PIL import Image

from hfpl_jax.masks import voc_palette
from hfpl_jax.report.grid import CELL, MARGIN, grid_png
from hfpl_jax.report.tiles import Tile

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


def test_pictures_and_legend_are_there():
    pixels = np.asarray(
        Image.open(
            io.BytesIO(
                grid_png([tile(93, 124), tile(300, 20, truth=False), tile(1, 1)], class_names=NAMES)
            )
        )
    )
    photo = (pixels == (10, 200, 30)).all(axis=-1)
    assert photo[:, : MARGIN + CELL[0]].sum() > 0.9 * CELL[0] * CELL[1]
    assert not photo[:, MARGIN + CELL[0] :].any()
    chips = (pixels[-MARGIN - 40 :] == voc_palette()[2]).all(axis=-1)
    assert chips.sum() > 200
