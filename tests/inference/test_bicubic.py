"""Pillow's resampling inside a compiled program."""

import jax
import numpy as np
import pytest

from hfpl_jax.data.transforms import resample
from hfpl_jax.inference.bicubic import axes_of, resize


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((40, 56), (30, 42)),
        ((40, 56), (60, 84)),
        ((33, 47), (16, 24)),
        ((98, 40), (49, 20)),
        ((97, 31), (11, 200)),
        ((1, 5), (3, 1)),
    ],
)
def test_it_is_pillows_to_the_bit(size, target):
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    images[1] = 255 * (images[1] > 127)  # whose overshoot is cut off
    axes = axes_of(size, target)
    found = jax.jit(lambda images: resize(images, target, axes=axes))(images)
    expected = [resample.resize(image, *target) for image in images]
    np.testing.assert_array_equal(found, expected)
