"""The generator and the discriminator; `experiments.parity` holds them against their
program's numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models.image_translation import ImageGenerator, PixelDiscriminator, instance_norm


def test_instances_are_normalised_alone():
    x = np.random.default_rng(0).normal(3.0, 2.0, (2, 4, 5, 3))
    expected = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(instance_norm(x.astype(np.float32)), expected, atol=1e-5)
    assert not np.any(instance_norm(np.full((1, 2, 2, 1), 7.0, np.float32)))


@pytest.mark.parametrize("size", [(16, 20), (13, 18)])
def test_an_image_is_as_large_as_its_mask(size):
    masks = jax.nn.one_hot(np.random.default_rng(0).integers(0, 3, (1, *size)), 3)
    generator = ImageGenerator(width=2, blocks=1)
    params = generator.init(jax.random.key(0), masks)
    images = generator.apply(params, masks)
    assert images.shape == (1, *size, 3)
    assert np.abs(images).max() < 1.0
    dropped = generator.apply(params, masks, train=True, rngs={"dropout": jax.random.key(1)})
    assert np.abs(dropped - images).max() > 1e-4


def test_as_many_parameters_as_published():
    """11.43 million of VOC's generator, 8.6 and 8.7 thousand of the discriminators."""

    def count(module, channels):
        inputs = jnp.zeros((1, 16, 16, channels))
        params = jax.eval_shape(module.init, jax.random.key(0), inputs)
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    assert count(ImageGenerator(), 21) == pytest.approx(11.43e6, rel=1e-3)
    assert [count(PixelDiscriminator(), each) for each in (1, 3)] == [8577, 8705]
