from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_resnet import photographs, random_variables
from test_resnet_blocks import conv, norm, relu

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.ocr_head import ObjectContextualHead, soft_regions
from hfpl_jax.models.segmentation_network import HEADS, SegmentationNetwork


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


def softmax(x, axis):
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def object_contextual(x, p, s):
    def layer(x, name, p=p, s=s):
        return relu(norm(conv(x, p[name]["kernel"]), p[name], s[name]))

    def inner(x, *names):
        for name in names:
            x = layer(x, name, p["context"], s["context"])
        return x

    coarse = layer(x, "coarse1") @ p["coarse"]["kernel"] + p["coarse"]["bias"]
    pixels = layer(x, "pixels")
    regions = np.einsum("bhwc,bhwk->bck", softmax(coarse, (1, 2)), pixels)[:, None]
    query, key = inner(pixels, "query1", "query2"), inner(regions, "key1", "key2")
    attention = softmax(np.einsum("bhwk,bick->bhwc", query, key) / 16.0, -1)
    context = np.einsum("bhwc,bick->bhwk", attention, inner(regions, "value"))
    found = inner(np.concatenate([inner(context, "up"), pixels], axis=-1), "fuse")
    return found @ p["classifier"]["kernel"] + p["classifier"]["bias"]


REFERENCES = {
    "deeplab_v1": large_field_of_view,
    "deeplab_v2": spatial_pyramid,
    "ocr": object_contextual,
}


@pytest.mark.parametrize(("head", "reference"), REFERENCES.items())
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


def test_soft_regions_are_those_of_the_image_without_its_padding():
    """Also of an image that is all padding, which has a gradient."""
    rng = np.random.default_rng(0)
    features, coarse = rng.normal(size=(2, 4, 5, 6)), 5.0 * rng.normal(size=(2, 4, 5, 3))
    sizes = np.array([[3, 2], [4, 5]], np.int32)

    def regions(coarse, sizes=sizes):
        return soft_regions(features.astype(np.float32), coarse, sizes)

    found = regions(coarse.astype(np.float32))
    for image, (rows, columns) in enumerate(sizes):
        shares = softmax(coarse[image, :rows, :columns], (0, 1))
        expected = np.einsum("hwc,hwk->ck", shares, features[image, :rows, :columns])
        np.testing.assert_allclose(found[image], expected, rtol=1e-5, atol=1e-6)
    nothing = jnp.zeros((2, 2), jnp.int32)
    slope = jax.grad(lambda coarse: jnp.sum(regions(coarse, nothing)))(jnp.asarray(coarse))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("head", HEADS)
def test_auxiliary_logits_where_the_head_has_some(head):
    network, images = small(head), photographs(1, 32, 32, 3)
    variables = random_variables(network, images)
    scores = jax.jit(partial(network.apply, auxiliary=True))(variables, images)
    np.testing.assert_array_equal(jax.jit(network.apply)(variables, images), scores.logits)
    assert (scores.auxiliary is None) == (head != "ocr")
    if head == "ocr":
        assert scores.auxiliary.shape == scores.logits.shape == (1, 4, 4, 4)
        assert np.abs(scores.auxiliary - scores.logits).max() > 0.1


def test_ocr_drops_whole_channels_and_moves_the_statistics_by_the_momentum():
    head, features = ObjectContextualHead(3, 0.25, 32, 8, dropout=0.5), photographs(2, 5, 6, 16)
    variables = head.init(jax.random.key(0), features, None, True, True)
    apply = jax.jit(partial(head.apply, mutable=["batch_stats"]), static_argnums=(3, 4))
    scores, updated = apply(
        variables, features, None, False, False, rngs={"dropout": jax.random.key(1)}
    )
    whole, _ = apply(variables, features, None, False, True)
    np.testing.assert_array_equal(scores.auxiliary, whole.auxiliary)
    assert np.abs(scores.logits - whole.logits).max() > 1e-2
    kernel = np.asarray(variables["params"]["pixels"]["kernel"], np.float64)
    convolved = conv(np.asarray(features, np.float64), kernel)
    stored = updated["batch_stats"]["pixels"]
    np.testing.assert_allclose(stored["mean"], 0.25 * convolved.mean((0, 1, 2)), atol=1e-5)
    expected = 0.75 + 0.25 * convolved.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(stored["var"], expected, rtol=1e-5)
    # The regions' statistics are those of 2 images times 3 classes.
    assert np.all(np.asarray(updated["batch_stats"]["context"]["key1"]["var"]) != 1.0)


def test_bfloat16_backbone_gives_float32_logits():
    for head in HEADS:
        images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        scores, variables = jax.eval_shape(
            partial(small(head, dtype=jnp.bfloat16).init_with_output, auxiliary=True),
            jax.random.key(0),
            images,
        )
        assert {leaf.dtype for leaf in jax.tree.leaves(scores)} == {jnp.dtype(jnp.float32)}
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_unknown_head_is_an_input_error():
    with pytest.raises(
        InputError, match="no segmentation head 'fcn'; choose one of deeplab_v1, deeplab_v2, ocr"
    ):
        small("fcn")
