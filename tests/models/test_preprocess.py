import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, colours, normalize


def test_normalize():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    valid = np.ones((2, 4, 5), bool)
    valid[1, :, 3:] = False
    normalized = normalize(jnp.asarray(images), jnp.asarray(valid))
    assert normalized.dtype == jnp.float32
    expected = (images / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(np.asarray(normalized)[valid], expected[valid], rtol=1e-5, atol=1e-6)
    assert not np.asarray(normalized)[~valid].any()


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("given", [np.asarray, jnp.asarray])
def test_one_image_and_groups_are_normalized_as_a_batch_is(shape, given):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (*shape, 3), np.uint8)
    valid = rng.random(shape) < 0.7
    made = normalize(given(images), given(valid))
    batch = normalize(images.reshape(-1, 4, 5, 3), valid.reshape(-1, 4, 5))
    assert isinstance(made, jax.Array)
    np.testing.assert_array_equal(made, batch.reshape(*shape, 3))


def test_an_image_of_other_sizes_than_its_valid_pixels_is_refused():
    with pytest.raises(TypeCheckError, match="valid"):
        normalize(np.zeros((4, 5, 3), np.uint8), np.ones((1, 4, 5), bool))


def test_colours_undo_the_normalisation():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    normalized = normalize(jnp.asarray(images), jnp.ones((2, 4, 5), bool))
    np.testing.assert_allclose(colours(normalized, (4, 5)), images / 255.0, atol=1e-6)


def test_colours_are_resized_with_aligned_corners_and_stay_in_range():
    low, high = -IMAGENET_MEAN / IMAGENET_STD, (1.0 - IMAGENET_MEAN) / IMAGENET_STD
    images = jnp.asarray(np.stack([low, high, low * 3, high * 3])[None, None], jnp.float32)
    reduced = colours(images, (1, 2))
    np.testing.assert_allclose(
        reduced[0, 0], [[0.0] * 3, [1.0] * 3], atol=1e-6
    )  # the two ends; 3x beyond the range is clipped
    np.testing.assert_allclose(colours(images[:, :, :2], (1, 3))[0, 0, 1], [0.5] * 3, atol=1e-6)
    padding = colours(jnp.zeros((1, 3, 3, 3)), (2, 2))
    np.testing.assert_allclose(padding, np.broadcast_to(IMAGENET_MEAN, (1, 2, 2, 3)), atol=1e-6)
