"""Two views of a photograph."""

import io

import numpy as np
import pytest
from PIL import Image

from hfpl_jax.data.dataset import Example
from hfpl_jax.data.transforms.two_views import AREA, RATIO, TwoViews, random_box, random_view


def example(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    height, width = pixels.shape[:2]
    return Example("a.png", buffer.getvalue(), np.zeros(0, np.int64), None, height, width)


def ramp(height=60, width=80):
    """Brighter from left to right."""
    row = np.linspace(0, 255, width).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def test_one_flip_is_shared_and_the_crops_are_not():
    rightward = set()
    for seed in range(12):
        made = TwoViews(32, jitter=False).random_map(example(ramp()), np.random.default_rng(seed))
        assert made["image"].shape == (2, 32, 32, 3)
        assert made["valid"].all()
        assert set(made) == {"image", "valid"}  # no labels
        first, second = made["image"].astype(int)
        rises = [bool(view[16, -1, 0] > view[16, 0, 0]) for view in (first, second)]
        assert rises[0] == rises[1]
        assert np.any(first != second)
        rightward.add(rises[0])
    assert rightward == {False, True}


@pytest.mark.parametrize("size", [(60, 80), (500, 375)])
def test_boxes_have_the_areas_and_ratios_that_are_drawn(size):
    rng, (height, width) = np.random.default_rng(0), size
    boxes = np.array([random_box(rng, height, width) for _ in range(500)])
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() == 0
    assert boxes[:, 2].max() == width
    assert boxes[:, 3].max() == height
    areas, ratios = wide * high / (height * width), wide / high
    assert AREA[0] - 0.02 < areas.min() < 0.35
    assert 0.8 < areas.max() <= 1.0
    assert RATIO[0] - 0.05 < ratios.min() < 0.75
    assert 1.3 < ratios.max() < RATIO[1] + 0.05


def test_a_very_long_photograph_has_the_crop_in_its_middle():
    assert random_box(np.random.default_rng(0), 10, 1000) == (493, 0, 507, 10)
    assert random_box(np.random.default_rng(0), 1000, 7) == (0, 495, 7, 505)


def test_some_views_are_grey_and_most_are_jittered():
    colour = np.full((40, 40, 3), (200, 90, 40), np.uint8)
    rng = np.random.default_rng(0)
    views = [random_view(rng, colour, 8, jitter=True) for _ in range(400)]
    grey = np.mean([np.all(np.ptp(view, axis=-1) == 0) for view in views])
    same = np.mean([np.all(view == colour[:8, :8]) for view in views])
    assert grey == pytest.approx(0.25, abs=0.06)
    assert same == pytest.approx(0.2 * 0.75, abs=0.06)
    plain = random_view(rng, colour, 8, jitter=False)
    np.testing.assert_array_equal(plain, colour[:8, :8])
