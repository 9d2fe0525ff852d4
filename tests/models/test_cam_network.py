from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.cam_network import CamNetwork


class Pool(nn.Module):
    """The least a backbone can be: 8x8 means, and what it was called with as
    features.
    """

    head_feature: ClassVar[str] = "pool"

    @nn.compact
    def __call__(self, images, sizes, use_running_average, deterministic):
        pool = nn.avg_pool(images, (8, 8), strides=(8, 8))
        sizes = jnp.zeros((1, 1)) if sizes is None else sizes.astype(jnp.float32)
        return {"pool": pool, "sizes": sizes, "running": jnp.full((1,), use_running_average)}


def images_of(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_logits_are_a_linear_function_of_the_features():
    images = images_of(2, 48, 64, 3)
    output, variables = CamNetwork(Pool(), num_classes=5).init_with_output(
        jax.random.key(0), images
    )
    assert set(variables["params"]) == {"head"}
    assert set(variables["params"]["head"]) == {"kernel"}
    assert variables["params"]["head"]["kernel"].shape == (3, 5)
    assert output.logits.shape == (2, 6, 8, 5)
    means = np.asarray(images, np.float64).reshape(2, 6, 8, 8, 8, 3).mean((2, 4))
    np.testing.assert_allclose(
        output.logits, means @ variables["params"]["head"]["kernel"], rtol=1e-4, atol=1e-6
    )


def test_head_starts_xavier_uniform():
    kernel = CamNetwork(Pool(), num_classes=5000).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))[
        "params"
    ]["head"]["kernel"]
    bound = np.sqrt(6 / (3 + 5000))
    assert float(jnp.abs(kernel).max()) <= bound
    assert float(kernel.std()) == pytest.approx(bound / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_statistics_of_the_batch_only_in_training_and_only_when_not_frozen(frozen, train):
    network = CamNetwork(Pool(), num_classes=2, frozen_batch_norm=frozen)
    images, sizes = images_of(1, 16, 16, 3), jnp.array([[9, 16]])
    variables = network.init(jax.random.key(0), images)
    features = network.apply(variables, images, sizes, train=train).features
    assert bool(features["running"].all()) == (frozen or not train)
    np.testing.assert_array_equal(features["sizes"], sizes)


def test_resnet_logits_are_float32_under_bfloat16_and_close_and_do_not_depend_on_padding():
    network = CamNetwork(ResNet(18, 32), num_classes=3)
    images = images_of(1, 64, 96, 3)
    variables = jax.jit(network.init)(jax.random.key(0), images)
    exact = jax.jit(network.apply)(variables, images[:, :61, :53]).logits
    padded = jax.jit(network.apply)(variables, images, jnp.array([[61, 53]])).logits
    np.testing.assert_allclose(
        padded[:, :2, :2], exact, rtol=1e-4, atol=1e-5 * float(jnp.abs(exact).max())
    )

    half = jax.jit(CamNetwork(ResNet(18, 32, dtype=jnp.bfloat16), num_classes=3).apply)(
        variables, images[:, :61, :53]
    ).logits
    assert half.dtype == exact.dtype == jnp.float32
    assert 0 < float(jnp.abs(half - exact).max()) < 0.05 * float(jnp.abs(exact).max())
