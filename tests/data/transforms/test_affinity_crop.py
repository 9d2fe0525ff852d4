import numpy as np
import pytest

from hfpl_jax.data.transforms.affinity_crop import affinity_crop
from hfpl_jax.data.transforms.affinity_labels import affinity_label_map

CLASSES = np.array([6, 2])


def scene(height, width):
    """The colours are coordinates, and the scores can be told from them: class 6 left
    of column 40, class 2 below row 30.
    """
    row, column = np.indices((height, width))
    image = np.stack([row, column, np.full_like(row, 200)], -1).astype(np.uint8)
    objects = np.stack([np.full(row.shape, 0.5), column < 40, 2.0 * (row >= 30)], -1).astype(
        np.float32
    )
    return image, objects, objects * np.float32([0.1, 1.0, 1.0])


@pytest.fixture
def keep_colours(monkeypatch):
    module = "hfpl_jax.data.transforms.aligned_crop"
    monkeypatch.setattr(f"{module}.random_color_jitter", lambda rng, image: image)


@pytest.mark.parametrize("size", [(70, 90), (20, 90), (70, 30), (20, 30), (48, 48)])
@pytest.mark.usefixtures("keep_colours")
def test_labels_lie_where_the_colours_tell(size):
    image, low, high = scene(*size)
    flips = 0
    for seed in range(12):
        crop, labels = affinity_crop(
            np.random.default_rng(seed), image, low, high, CLASSES, crop_size=48
        )
        assert crop.shape == (48, 48, 3)
        assert labels.shape == (6, 6)
        inside = crop[..., 2] == 200
        assert not crop[~inside].any()  # black
        assert inside.sum() == min(size[0], 48) * min(size[1], 48)
        rows, columns = crop[..., 0].astype(int), crop[..., 1].astype(int)
        # The scores of every pixel follow from its colours, whatever was done to it.
        again = (
            np.stack([np.full(rows.shape, 0.5), columns < 40, 2.0 * (rows >= 30)], -1)
            * inside[..., None]
        )
        expected = affinity_label_map(
            again.astype(np.float32), (again * [0.1, 1.0, 1.0]).astype(np.float32), CLASSES
        )
        np.testing.assert_array_equal(labels, expected)
        left, right = columns[inside][:2]
        flips += left > right
    assert 0 < flips < 12


@pytest.mark.usefixtures("keep_colours")
def test_every_place_is_reached():
    image, low, high = scene(50, 51)
    corners = set()
    for seed in range(150):
        crop, _ = affinity_crop(
            np.random.default_rng(seed), image, low, high, CLASSES, crop_size=48
        )
        corners.add((int(crop[0, 0, 0]), int(crop[0, :, 1].min())))
    assert corners == {(y, x) for y in range(3) for x in range(4)}


def test_padding_is_ignored_and_black_after_the_jitter():
    image, low, high = scene(16, 16)
    crop, labels = affinity_crop(np.random.default_rng(0), image, low, high, CLASSES, crop_size=64)
    inside = crop.any(-1)
    assert inside.sum() <= 256
    cells = inside.reshape(8, 8, 8, 8).any((1, 3))
    np.testing.assert_array_equal(labels != 255, cells)


def test_colours_are_jittered():
    image, low, high = scene(64, 64)
    crops = [
        affinity_crop(np.random.default_rng(seed), image, low, high, CLASSES, crop_size=64)[0]
        for seed in range(5)
    ]
    assert len({tuple(crop[0, 0]) for crop in crops}) == 5


def test_the_generator_decides_alone_and_nothing_is_changed():
    image, low, high = scene(60, 70)
    before = image.copy(), low.copy(), high.copy()
    first, second = (
        affinity_crop(np.random.default_rng(3), image, low, high, CLASSES, crop_size=48)
        for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip((image, low, high), before, strict=True):
        np.testing.assert_array_equal(a, b)
