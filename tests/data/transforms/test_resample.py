import numpy as np
import pytest
from PIL import Image

from hfpl_jax.data.transforms.resample import resize, resize_for_scale, resize_long


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((4, 8), 16, (8, 16)),
        ((8, 4), 6, (6, 3)),
        ((5, 5), 7, (7, 7)),
        ((3, 7), 10, (4, 10)),
        ((1, 100), 20, (1, 20)),
    ],
)
def test_resize_long(size, long_side, expected):
    assert resize_long(photo(*size), long_side).shape == (*expected, 3)


def test_resize_is_pillow_bicubic():
    image = photo(6, 9)
    np.testing.assert_array_equal(
        resize(image, 4, 12),
        np.asarray(Image.fromarray(image).resize((12, 4), Image.BICUBIC)),
    )


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [((5, 7), 0.5, (2, 4)), ((5, 7), 1.5, (8, 10)), ((1, 9), 0.25, (1, 2))],
)
def test_resize_for_scale_rounds_half_to_even(size, scale, expected):
    assert resize_for_scale(photo(*size), scale).shape == (*expected, 3)


def test_resize_for_scale_one_changes_nothing():
    image = photo(5, 7)
    np.testing.assert_array_equal(resize_for_scale(image, 1.0), image)
