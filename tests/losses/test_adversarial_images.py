import numpy as np

from hfpl_jax.losses.adversarial_images import adversarial_images
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD


def test_a_step_in_colours_that_ends_at_black_and_white():
    """Four pixels of a row: in between, near white, near black, padding."""
    colours = np.array([0.5, 0.99, 0.01, 0.7], np.float32)[:, None] * np.ones(3, np.float32)
    images = ((colours - IMAGENET_MEAN) / IMAGENET_STD)[None, None]
    slopes = np.array([[1e-9, -2.0, 0.0], [3.0, 3.0, 3.0], [-1.0, -1.0, -1.0], [5.0, 5.0, 5.0]])
    valid = np.array([[[True, True, True, False]]])
    moved = adversarial_images(images, slopes[None, None].astype(np.float32), valid, epsilon=0.03)
    seen = moved[0, 0] * IMAGENET_STD + IMAGENET_MEAN
    expected = [[0.53, 0.47, 0.5], [1.0] * 3, [0.0] * 3, [0.7] * 3]
    np.testing.assert_allclose(seen, expected, atol=1e-6)
