import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyramid import Pyramid
from test_pixel_correlation import oracle
from test_resnet import photographs, random_variables

from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.models.seam_network import SeamNetwork
from hfpl_jax.resize import resize_bilinear


def small(output_stride):
    """layer2 has stride 8: at an output stride of 8 nothing is resized but the image,
    at 16 layer2 is.
    """
    return SeamNetwork(ResNet(18, output_stride, width=4), 3)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_both_maps(output_stride):
    network, images = small(output_stride), photographs(1, 48, 64, 3)
    variables = random_variables(network, images)
    output = jax.jit(network.apply)(variables, images)
    params = variables["params"]
    cam = {
        "params": {name: params[name] for name in ("backbone", "head")},
        "batch_stats": variables["batch_stats"],
    }
    np.testing.assert_allclose(
        output.logits,
        jax.jit(CamNetwork(network.backbone, 3).apply)(cam, images).logits,
        rtol=1e-5,
        atol=1e-5,
    )

    size = output.logits.shape[1:3]
    assert size == (48 // output_stride, 64 // output_stride)
    parts = [resize_bilinear(images, size, align_corners=True)]
    for name in ("layer2", "layer3"):
        feature = resize_bilinear(output.features[name], size, align_corners=True)
        parts.append(
            np.maximum(np.asarray(feature, np.float64) @ params[f"reduce_{name}"]["kernel"], 0)
        )
    embedding = (
        np.concatenate([np.asarray(part, np.float64) for part in parts], -1)
        @ params["embed"]["kernel"]
    )
    assert output.corrected.shape == (1, *size, 4)
    np.testing.assert_allclose(
        output.corrected[0],
        oracle(np.asarray(output.logits[0], np.float64), embedding[0]),
        rtol=1e-3,
        atol=1e-4,
    )
    assert output.logits.dtype == output.corrected.dtype == jnp.float32


def test_padded_image_equals_the_image_alone():
    network, images = (
        small(16),
        photographs(2, 48, 64, 3),
    )  # the padding holds noise: it must not matter
    variables = random_variables(network, images)
    padded = jax.jit(network.apply)(variables, images, jnp.array([[48, 64], [39, 50]]))
    alone = jax.jit(network.apply)(variables, images[1:, :39, :50])
    for ours, expected in ((padded.logits, alone.logits), (padded.corrected, alone.corrected)):
        assert expected.shape[1:3] == (3, 4)
        np.testing.assert_allclose(ours[1, :3, :4], expected[0], rtol=1e-3, atol=1e-4)


def test_the_corrected_map_trains_its_own_layers_alone():
    network, images = SeamNetwork(Pyramid(), 3), photographs(1, 32, 32, 3)
    variables = jax.jit(network.init)(jax.random.key(0), images)

    def loss(params, images):
        return jnp.sum(
            network.apply({**variables, "params": params}, images).corrected[..., 0] ** 2
        )

    gradients, to_images = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables["params"], images)
    largest = {
        name: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))
        for name, tree in gradients.items()
    }
    trained = {name for name, gradient in largest.items() if gradient > 0}
    assert trained == {"reduce_conv4", "reduce_conv5", "embed"}
    np.testing.assert_array_equal(to_images, 0.0)


def test_a_projection_is_of_the_feature_that_is_classified():
    """Of the same channels in training; the other maps are as they were without it."""
    images = photographs(1, 32, 40, 3)
    plain, network = SeamNetwork(Pyramid(), 3), SeamNetwork(Pyramid(), 3, projection_channels=7)
    variables = jax.jit(network.init)(jax.random.key(0), images)
    params = variables["params"]
    assert params["projection"]["kernel"].shape == (32, 7)
    bound = np.sqrt(6 / (32 + 7))
    assert bound * 0.9 < float(jnp.abs(params["projection"]["kernel"]).max()) <= bound
    # What the classifier knows of the dropped channels: one class for each of them.
    shown = {**params, "head": {"kernel": jnp.eye(32)}}
    outputs = jax.jit(
        lambda rngs: tuple(
            each.apply({"params": given}, images, train=True, rngs=rngs)
            for each, given in (
                (network, params),
                (plain, {name: params[name] for name in params if name != "projection"}),
                (SeamNetwork(Pyramid(), 32), {n: shown[n] for n in shown if n != "projection"}),
            )
        )
    )({"dropout": jax.random.key(1)})
    output, without, dropped = outputs
    np.testing.assert_array_equal(output.logits, without.logits)
    np.testing.assert_array_equal(output.corrected, without.corrected)
    assert without.projection.shape == (*output.projection.shape[:3], 0)
    assert float(jnp.mean(jnp.all(dropped.logits == 0.0, axis=(0, 1, 2)))) > 0.1
    expected = np.maximum(dropped.logits @ params["projection"]["kernel"], 0.0)
    np.testing.assert_allclose(output.projection, expected, rtol=1e-5, atol=1e-6)
    assert 0.2 < np.mean(expected > 0.0) < 0.8


def test_heads_start_as_published():
    params = jax.jit(SeamNetwork(Pyramid(), 3).init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))[
        "params"
    ]
    shapes = {name: params[name]["kernel"].shape for name in params if name != "backbone"}
    assert shapes == {
        "head": (32, 3),
        "reduce_conv4": (8, 64),
        "reduce_conv5": (16, 128),
        "embed": (195, 192),
    }
    for name in ("reduce_conv4", "reduce_conv5"):
        kernel = params[name]["kernel"]
        assert float(kernel.std()) == pytest.approx(np.sqrt(2 / kernel.shape[0]), rel=0.1)
        assert float(jnp.abs(kernel).max()) > 2.5 * float(
            kernel.std()
        )  # normal, not truncated at 2 deviations nor uniform
    bound = 4 * np.sqrt(6 / (195 + 192))
    assert bound * 0.99 < float(jnp.abs(params["embed"]["kernel"]).max()) <= bound
    assert float(jnp.abs(params["head"]["kernel"]).max()) <= np.sqrt(6 / 35)


def test_dropout_only_in_training():
    network, images = SeamNetwork(Pyramid(), 3), photographs(1, 16, 16, 3)
    variables = jax.jit(network.init)(jax.random.key(0), images)
    apply = jax.jit(network.apply, static_argnames="train")
    still = apply(variables, images).logits
    first, second = (
        apply(variables, images, train=True, rngs={"dropout": jax.random.key(seed)}).logits
        for seed in (0, 1)
    )
    assert float(jnp.abs(first - second).max()) > 0.01
    assert float(jnp.abs(first - still).max()) > 0.01


def test_the_projection_trains_itself_and_the_backbone():
    """It is not detached, as the corrected map is; the classifier learns nothing by it."""
    network, images = SeamNetwork(Pyramid(), 3, projection_channels=7), photographs(1, 32, 32, 3)
    params = jax.jit(network.init)(jax.random.key(0), images)["params"]

    @jax.jit
    @jax.grad
    def slopes(params):
        return jnp.sum(network.apply({"params": params}, images).projection ** 2)

    found = slopes(params)
    reached = {name for name, tree in found.items() if any(map(np.any, jax.tree.leaves(tree)))}
    assert reached == {"backbone", "projection"}
    layers = {name for name, tree in found["backbone"].items() if np.any(tree["kernel"])}
    assert layers == {"conv6"}
