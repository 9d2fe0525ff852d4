import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import linen as nn

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.backbones.resnet38 import ResNet38
from hfpl_jax.models.backbones.vgg16 import Vgg16
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.models.pretrained import load_backbone

BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Places of the convolutions in torchvision's `features`, by block."""


def torchvision(width=64):
    """The arrays of a file, some of its classifier's among them."""
    rng, into, arrays = np.random.default_rng(0), 3, {"classifier.0.bias": np.zeros(4096)}
    for places, factor in zip(BLOCKS, (1, 2, 4, 8, 8), strict=True):
        for place in places:
            shape = (factor * width, into, 3, 3)
            arrays[f"features.{place}.weight"] = rng.normal(size=shape).astype(np.float32)
            arrays[f"features.{place}.bias"] = rng.normal(size=shape[0]).astype(np.float32)
            into = factor * width
    return arrays


def photographs(*shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def shapes(network, images):
    return jax.eval_shape(network.init, jax.random.key(0), images)


def filled(network, images, seed=0):
    """Random variables, of which none has the value that it starts from."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if path[-1].key == "kernel":
            scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return (rng.normal(size=leaf.shape) * scale).astype(np.float32)
        low, high = (-0.1, 0.1) if path[-1].key in ("mean", "bias") else (0.5, 1.5)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes(network, images))


def test_strides_channels_and_the_published_count_of_parameters():
    images = jax.ShapeDtypeStruct((2, 65, 96, 3), jnp.float32)
    network = Vgg16()
    features, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    for name, stride in network.strides.items():
        cells = -(-65 // stride), -(-96 // stride)
        assert features[name].shape == (2, *cells, network.channels[name])
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 14_714_688


def test_features_of_plain_convolutions_and_pools():
    """The last block's, which is dilated; its pool before has no stride."""
    images, network = photographs(1, 32, 48, 3), Vgg16(width=4)
    variables = filled(network, images)
    x = images
    for index, places in enumerate(BLOCKS):
        if index in (1, 2, 3):
            x = nn.max_pool(x, (2, 2), (2, 2))
        elif index == 4:
            x = nn.max_pool(x, (3, 3), (1, 1), "SAME")
        for number in range(1, len(places) + 1):
            of_layer = variables["params"][f"block{index + 1}"][f"conv{number}"]
            x = nn.relu(
                jax.lax.conv_general_dilated(
                    x,
                    of_layer["kernel"],
                    (1, 1),
                    "SAME",
                    rhs_dilation=(2, 2) if index == 4 else (1, 1),
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
                + of_layer["bias"]
            )
    found = network.apply(variables, images)["block5"]
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-5 * float(x.max()))


SUPPRESSED = (Vgg16(width=4), ResNet(18, 8, width=8), ResNet(50, 16, width=8), ResNet38(width=2))


@pytest.mark.parametrize(
    ("network", "suppression"),
    itertools.product(SUPPRESSED, ("", "0.6", "learnable")),
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_a_padded_batch_equals_each_image_alone(network, suppression):
    network = network.clone(suppression=suppression)
    sizes = np.array([[64, 48], [37, 33], [8, 40]])
    images = photographs(3, 64, 48, 3)  # the padding holds noise
    variables = filled(network, images[:1])
    padded = jax.jit(network.apply)(variables, images, jnp.asarray(sizes))
    for index, (height, width) in enumerate(sizes):
        alone = jax.jit(network.apply)(variables, images[index : index + 1, :height, :width])
        for name, stride in network.strides.items():
            h, w = -(-height // stride), -(-width // stride)
            np.testing.assert_allclose(
                padded[name][index, :h, :w],
                alone[name][0],
                rtol=1e-3,
                atol=5e-5 * float(jnp.abs(alone[name]).max()),
            )


@pytest.mark.parametrize("network", SUPPRESSED, ids=lambda each: type(each).__name__)
def test_a_suppression_cuts_what_a_relu_lets_through(network):
    images = photographs(2, 32, 32, 3)
    variables = filled(network, images)
    name = network.head_feature
    cut, plain, all_of_it = (
        jax.jit(network.clone(suppression=text).apply)(variables, images)[name]
        for text in ("0.5", "", "1.0")
    )
    assert float(jnp.abs(cut - plain).max()) > 0.05 * float(plain.max())
    np.testing.assert_allclose(all_of_it, plain, rtol=1e-5, atol=1e-5 * float(plain.max()))


def saved(path, arrays):
    safetensors.numpy.save_file(arrays, path)
    return path


@pytest.mark.parametrize("suppression", ["", "learnable"])
def test_weights_under_torchvisions_names(tmp_path, suppression):
    """The file knows no suppression, whose weights stay what they were."""
    network = CamNetwork(Vgg16(suppression=suppression), 3)
    images = jnp.zeros((1, 16, 16, 3))
    variables = filled(network, images)
    arrays = torchvision()
    loaded = load_backbone(saved(tmp_path / "vgg.safetensors", arrays), variables, network.backbone)
    assert set(loaded["params"]) == {"backbone", "head"}
    backbone = loaded["params"]["backbone"]
    for block, places in enumerate(BLOCKS, start=1):
        for number, place in enumerate(places, start=1):
            ours = backbone[f"block{block}"][f"conv{number}"]
            theirs = arrays[f"features.{place}.weight"].transpose(2, 3, 1, 0)
            np.testing.assert_array_equal(ours["kernel"], theirs)
            np.testing.assert_array_equal(ours["bias"], arrays[f"features.{place}.bias"])
            assert (f"suppression{number}" in backbone[f"block{block}"]) == bool(suppression)
    if suppression:
        kept = variables["params"]["backbone"]["block5"]["suppression3"]["kernel"]
        np.testing.assert_array_equal(backbone["block5"]["suppression3"]["kernel"], kept)


def test_weights_of_its_suppression_are_loaded_where_a_file_has_them(tmp_path):
    network = Vgg16(suppression="learnable")
    variables = filled(network, jnp.zeros((1, 16, 16, 3)))
    weight = np.random.default_rng(3).normal(size=(64, 64)).astype(np.float32)
    path = saved(tmp_path / "drs.safetensors", torchvision() | {"layer1_relu2.fc.0.weight": weight})
    loaded = load_backbone(path, variables, network)["params"]
    np.testing.assert_array_equal(loaded["block1"]["suppression2"]["kernel"], weight.T)
    kept = variables["params"]["block1"]["suppression1"]["kernel"]
    np.testing.assert_array_equal(loaded["block1"]["suppression1"]["kernel"], kept)


def test_another_backbones_file_is_told_by_name(tmp_path):
    network = ResNet(18)
    variables = shapes(network, jnp.zeros((1, 32, 32, 3)))
    path = saved(tmp_path / "vgg.safetensors", torchvision())
    with pytest.raises(InputError, match=r"does not fit the backbone\. It looks like vgg16\."):
        load_backbone(path, variables, network)


def test_a_suppression_in_a_file_is_left_out_where_there_is_none(tmp_path):
    """The network that learns the CAMs starts from the classifier's file."""
    network = Vgg16()
    variables = filled(network, jnp.zeros((1, 16, 16, 3)))
    weight = np.zeros((64, 64), np.float32)
    path = saved(tmp_path / "drs.safetensors", torchvision() | {"layer1_relu2.fc.0.weight": weight})
    loaded = load_backbone(path, variables, network)["params"]
    assert set(loaded["block1"]) == {"conv1", "conv2"}
