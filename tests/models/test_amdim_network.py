"""The network of the pretraining: means of parts, heads that start as the identity, and a
backbone like any other.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models.amdim_network import AmdimNetwork, ComparableHead, adaptive_pool
from hfpl_jax.models.backbones.resnet import ResNet


@pytest.mark.parametrize(("height", "width", "side"), [(14, 7, 7), (8, 12, 5), (3, 2, 5)])
def test_parts_are_means_from_floor_to_ceiling(height, width, side):
    feature = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    expected = np.empty((2, side, side, 3))
    for row in range(side):
        for column in range(side):
            top, bottom = row * height // side, -(-(row + 1) * height // side)
            left, right = column * width // side, -(-(column + 1) * width // side)
            expected[:, row, column] = feature[:, top:bottom, left:right].mean((1, 2))
    np.testing.assert_allclose(adaptive_pool(feature, side), expected, rtol=1e-5, atol=1e-6)


def test_a_head_starts_as_its_normalised_input():
    x = np.random.default_rng(1).normal(size=(4, 5, 5, 6)).astype(np.float32)
    head = ComparableHead(6)
    variables = head.init(jax.random.key(0), x, False)
    assert not np.any(variables["params"]["second"]["kernel"])
    found, _ = head.apply(variables, x, False, mutable=["batch_stats"])
    expected = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
    assert np.abs(found - expected).max() < 0.2
    assert np.abs(found - expected).max() > 0.0  # it is not the identity: it can learn


def test_its_outputs_have_the_width_of_the_last_feature():
    network = AmdimNetwork(ResNet(18, 8, width=4))
    images = jnp.zeros((2, 56, 56, 3))
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    shapes = jax.eval_shape(network.apply, variables, images)
    assert [leaf.shape for leaf in shapes] == [(2, 32), (2, 5, 5, 32), (2, 7, 7, 32)]
    plain = jax.eval_shape(network.backbone.init, jax.random.key(0), images)
    assert variables["params"]["backbone"] == plain["params"]
