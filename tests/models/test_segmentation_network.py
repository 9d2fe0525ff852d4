from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_resnet import photographs, random_variables
from test_resnet_blocks import conv, norm, relu

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.segmentation_network import SegmentationNetwork


def small(head, **options):
    return SegmentationNetwork(ResNet(18, 8, width=4, **options), 3, head)


def large_field_of_view(x, p, s):
    x = relu(norm(conv(x, p["fov"]["kernel"], 1, 12), p["fov"], s["fov"]))
    x = relu(norm(conv(x, p["fov2"]["kernel"]), p["fov2"], s["fov2"]))
    return x @ p["classifier"]["kernel"] + p["classifier"]["bias"]


def spatial_pyramid(x, p, s):
    del s
    return sum(
        conv(x, p[f"dilation{d}"]["kernel"], 1, d) + p[f"dilation{d}"]["bias"]
        for d in (6, 12, 18, 24)
    )


@pytest.mark.parametrize(
    ("head", "reference"), [("deeplab_v1", large_field_of_view), ("deeplab_v2", spatial_pyramid)]
)
def test_head_equals_numpy_and_does_not_depend_on_padding(head, reference):
    network, images = (
        small(head),
        photographs(2, 104, 128, 3),
    )  # the padding holds noise: it must not matter
    variables = random_variables(network, images)
    alone = images[1:, :101, :117]
    logits = jax.jit(network.apply)(variables, alone)
    assert logits.shape == (1, 13, 15, 4)
    assert logits.dtype == jnp.float32

    backbone = {
        "params": variables["params"]["backbone"],
        "batch_stats": variables["batch_stats"]["backbone"],
    }
    feature = np.asarray(jax.jit(network.backbone.apply)(backbone, alone)["layer4"], np.float64)
    expected = reference(feature, variables["params"]["head"], variables["batch_stats"].get("head"))
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())

    padded = jax.jit(network.apply)(variables, images, jnp.array([[104, 128], [101, 117]]))
    np.testing.assert_allclose(
        padded[1, :13, :15], logits[0], rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_of_the_batch_in_training_unless_frozen(frozen):
    network = SegmentationNetwork(
        ResNet(18, 8, width=4, batch_norm_momentum=1.0),
        3,
        frozen_batch_norm=frozen,
        batch_norm_momentum=1.0,
    )
    images = photographs(2, 32, 32, 3)
    variables = random_variables(network, images)
    apply = jax.jit(partial(network.apply, train=True, mutable=["batch_stats"]))
    first, updated = apply(variables, images, rngs={"dropout": jax.random.key(0)})
    second, _ = apply(variables, images, rngs={"dropout": jax.random.key(1)})
    assert float(jnp.abs(first - second).max()) > 1e-3
    for collection in (("head", "fov"), ("head", "fov2"), ("backbone", "stem")):
        old, new = (
            tree[collection[0]][collection[1]]["mean"]
            for tree in (variables["batch_stats"], updated["batch_stats"])
        )
        # With a momentum of 1 nothing is left of what was stored.
        np.testing.assert_array_equal(new == old, frozen)


def test_bfloat16_backbone_gives_float32_logits():
    for head in ("deeplab_v1", "deeplab_v2"):
        images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        logits, variables = jax.eval_shape(
            small(head, dtype=jnp.bfloat16).init_with_output, jax.random.key(0), images
        )
        assert logits.dtype == jnp.float32
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_unknown_head_is_an_input_error():
    with pytest.raises(
        InputError, match="no segmentation head 'fcn'; choose one of deeplab_v1, deeplab_v2"
    ):
        small("fcn")
