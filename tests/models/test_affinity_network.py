import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyramid import Pyramid
from test_resnet import photographs, random_variables

from hfpl_jax.models.affinity_network import AffinityNetwork
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.resize import resize_bilinear

LAYERS = ("layer2", "layer3", "layer4")
NETWORK = AffinityNetwork(ResNet(18, 16, width=4))  # layer2 has stride 8 and is resized


def elu(x):
    return np.where(x > 0, x, np.expm1(x))


def test_features_equal_numpy_and_do_not_depend_on_padding():
    images = photographs(2, 48, 64, 3)  # the padding holds noise: it must not matter
    variables = random_variables(NETWORK, images)
    small = images[1:, :39, :50]
    affinity = jax.jit(NETWORK.apply)(variables, small)
    assert affinity.shape == (1, 3, 4, 448)
    assert affinity.dtype == jnp.float32

    params = variables["params"]
    backbone = {"params": params["backbone"], "batch_stats": variables["batch_stats"]["backbone"]}
    features = jax.jit(NETWORK.backbone.apply)(backbone, small)
    parts = []
    for name in LAYERS:
        feature = np.asarray(
            resize_bilinear(features[name], (3, 4), align_corners=True), np.float64
        )
        parts.append(elu(feature @ params[f"reduce_{name}"]["kernel"]))
    expected = elu(np.concatenate(parts, -1) @ params["embed"]["kernel"])
    np.testing.assert_allclose(affinity, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())

    padded = jax.jit(NETWORK.apply)(variables, images, jnp.array([[48, 64], [39, 50]]))
    np.testing.assert_allclose(
        padded[1, :3, :4], affinity[0], rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )


def test_heads_start_as_published_and_train_with_the_backbone():
    network, images = AffinityNetwork(Pyramid()), photographs(1, 32, 32, 3)
    variables = jax.jit(network.init)(jax.random.key(0), images)
    params = variables["params"]
    shapes = {name: params[name]["kernel"].shape for name in params if name != "backbone"}
    assert shapes == {
        "reduce_conv4": (8, 64),
        "reduce_conv5": (16, 128),
        "reduce_conv6": (32, 256),
        "embed": (448, 448),
    }
    assert float(params["reduce_conv6"]["kernel"].std()) == pytest.approx(np.sqrt(2 / 32), rel=0.1)
    bound = 4 * np.sqrt(6 / (448 + 448))
    assert bound * 0.99 < float(jnp.abs(params["embed"]["kernel"]).max()) <= bound

    gradients = jax.jit(
        jax.grad(
            lambda params: jnp.sum(network.apply({**variables, "params": params}, images) ** 2)
        )
    )(params)
    for name in (*shapes, "backbone"):
        leaves = jax.tree.leaves(gradients[name])
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert max(float(jnp.abs(leaf).max()) for leaf in leaves) > 0
