import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones.resnet import ResNet


def random_variables(network, images, seed=0):
    """Variables whose statistics, scales and biases are not the neutral ones they start
    from.
    """
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if path[-1].key == "kernel":
            return rng.normal(size=leaf.shape).astype(np.float32) * np.float32(
                np.sqrt(2 / np.prod(leaf.shape[:3]))
            )
        low, high = (-0.3, 0.3) if path[-1].key in ("mean", "bias") else (0.5, 1.5)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(
        fill, jax.eval_shape(network.init, jax.random.key(0), images)
    )


def photographs(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("depth", "output_stride", "version"),
    itertools.product((18, 34, 50, 101), (32, 16, 8), ("v1", "v1.5")),
)
def test_every_feature_has_the_stride_and_channels_of_the_table(depth, output_stride, version):
    network = ResNet(depth, output_stride, version)
    images = jax.ShapeDtypeStruct((2, 65, 96, 3), jnp.float32)
    features, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    assert list(network.strides) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert set(features) == set(network.strides)
    wider = 4 if depth >= 50 else 1
    channels = [64, *(64 * wider * 2**stage for stage in range(4))]
    for (name, stride), count in zip(network.strides.items(), channels, strict=True):
        assert features[name].shape == (2, -(-65 // stride), -(-96 // stride), count)
    assert network.strides["layer4"] == output_stride


@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes(dtype, param_dtype):
    network = ResNet(18, dtype=dtype, param_dtype=param_dtype)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype(param_dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["batch_stats"])} == {
        jnp.dtype(jnp.float32)
    }
    for running in (True, False):
        apply = partial(network.apply, use_running_average=running, mutable=["batch_stats"])
        features, _ = jax.eval_shape(apply, variables, images)
        assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(dtype)}


@pytest.mark.parametrize(
    ("depth", "millions"), [(18, 11.1765), (34, 21.2847), (50, 23.5080), (101, 42.5002)]
)
def test_parameter_count_is_the_published_one_without_classifier(depth, millions):
    variables = jax.eval_shape(
        ResNet(depth).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) / 1e6 == pytest.approx(
        millions, abs=1e-4
    )


@pytest.mark.parametrize(("depth", "version"), [(18, "v1"), (50, "v1"), (50, "v1.5")])
def test_dilation_computes_the_stride_32_features_at_more_positions(depth, version):
    images = photographs(1, 75, 96, 3)
    variables = random_variables(ResNet(depth, 32, version), images)
    coarse = jax.jit(ResNet(depth, 32, version).apply)(variables, images)["layer4"]
    for output_stride in (16, 8):
        dense = jax.jit(ResNet(depth, output_stride, version).apply)(variables, images)["layer4"]
        step = 32 // output_stride
        np.testing.assert_allclose(
            dense[:, ::step, ::step], coarse, rtol=1e-4, atol=1e-4 * float(jnp.abs(coarse).max())
        )


IMPULSE = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


@pytest.fixture(scope="module")
def abstract():
    """Of a ResNet-50, which has the same variables whatever its dilations."""
    return jax.eval_shape(ResNet(50).init, jax.random.key(0), IMPULSE)


def _dilated(network, variables):
    """Numbers of convolutions dilated by 2 and by 4, read off the traced program."""
    text = str(jax.make_jaxpr(network.apply)(variables, IMPULSE))
    return text.count("rhs_dilation=(2, 2)"), text.count("rhs_dilation=(4, 4)")


@pytest.mark.parametrize(
    ("version", "dilation", "at_16", "at_8"),
    [
        ("v1", "exact", (3, 0), (6, 3)),
        ("v1", "after_first", (2, 0), (6, 2)),
        ("v1.5", "exact", (2, 0), (6, 2)),
        ("v1.5", "after_first", (2, 0), (6, 2)),
        ("v1", "none", (0, 0), (0, 0)),
        ("v1.5", "none", (0, 0), (0, 0)),
    ],
)
def test_which_convolutions_are_dilated(abstract, version, dilation, at_16, at_8):
    for output_stride, expected in ((32, (0, 0)), (16, at_16), (8, at_8)):
        network = ResNet(50, output_stride, version, dilation=dilation)
        assert _dilated(network, abstract) == expected
        assert network.strides["layer4"] == output_stride


def test_versions_differ_in_the_place_of_the_stride():
    images = photographs(1, 64, 64, 3)
    variables = random_variables(ResNet(50, 32, "v1"), images)
    first, second = (
        jax.jit(ResNet(50, 32, version).apply)(variables, images) for version in ("v1", "v1.5")
    )
    np.testing.assert_array_equal(first["layer1"], second["layer1"])
    assert float(jnp.abs(first["layer2"] - second["layer2"]).max()) > 0.1


@pytest.mark.parametrize(("depth", "version", "output_stride"), [(18, "v1", 32), (50, "v1.5", 8)])
def test_padded_batch_equals_each_image_alone(depth, version, output_stride):
    network = ResNet(depth, output_stride, version)
    sizes = np.array([[64, 96], [63, 61], [1, 50]])
    images = photographs(len(sizes), 64, 96, 3)  # the padding holds noise: it must not matter
    variables = random_variables(network, images[:1])
    padded = jax.jit(network.apply)(variables, images, jnp.asarray(sizes))
    for index, (height, width) in enumerate(sizes):
        alone = jax.jit(network.apply)(variables, images[index : index + 1, :height, :width])
        for name, stride in network.strides.items():
            h, w = -(-height // stride), -(-width // stride)
            assert alone[name].shape[1:3] == (h, w)
            tolerance = 2e-5 * float(jnp.abs(alone[name]).max())
            np.testing.assert_allclose(
                padded[name][index, :h, :w],
                alone[name][0],
                rtol=1e-4,
                atol=tolerance,
                err_msg=f"{name} {height}x{width}",
            )


def test_batch_statistics_are_used_and_stored():
    network = ResNet(18)
    images = photographs(4, 64, 64, 3)
    variables = random_variables(network, images)
    features, updated = jax.jit(
        partial(network.apply, use_running_average=False, mutable=["batch_stats"])
    )(variables, images)
    assert (
        float(
            jnp.abs(features["layer4"] - jax.jit(network.apply)(variables, images)["layer4"]).max()
        )
        > 0.1
    )

    weights, old, new = (
        tree["stem"]
        for tree in (variables["params"], variables["batch_stats"], updated["batch_stats"])
    )
    y = jax.lax.conv_general_dilated(
        images,
        weights["kernel"],
        (2, 2),
        ((3, 3), (3, 3)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    y = np.asarray(y, np.float64)
    np.testing.assert_allclose(
        new["mean"], 0.9 * old["mean"] + 0.1 * y.mean((0, 1, 2)), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        new["var"], 0.9 * old["var"] + 0.1 * y.var((0, 1, 2), ddof=1), rtol=1e-4
    )
    normalised = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-5) * weights[
        "scale"
    ] + weights["bias"]
    np.testing.assert_allclose(features["stem"], nn.relu(normalised), rtol=1e-3, atol=1e-4)


def test_frozen_gradient_is_that_of_unfolded_batch_normalisation():
    network = ResNet(18, 32)
    images = photographs(2, 32, 32, 3)
    variables = random_variables(network, images)
    stem = variables["batch_stats"]["stem"]

    def folded(params):
        features = network.apply(
            {
                "params": variables["params"] | {"stem": params},
                "batch_stats": variables["batch_stats"],
            },
            images,
        )
        return jnp.sum(features["stem"] ** 2)

    def plain(params):
        y = jax.lax.conv_general_dilated(
            images,
            params["kernel"],
            (2, 2),
            ((3, 3), (3, 3)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return jnp.sum(
            nn.relu(
                (y - stem["mean"]) / jnp.sqrt(stem["var"] + 1e-5) * params["scale"] + params["bias"]
            )
            ** 2
        )

    expected = jax.jit(jax.grad(plain))(variables["params"]["stem"])
    for name, gradient in jax.jit(jax.grad(folded))(variables["params"]["stem"]).items():
        np.testing.assert_allclose(
            gradient,
            expected[name],
            rtol=1e-3,
            atol=1e-4 * float(jnp.abs(expected[name]).max()),
            err_msg=name,
        )


def test_padding_with_batch_statistics_is_refused():
    network = ResNet(18)
    images = photographs(1, 32, 32, 3)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    with pytest.raises(ValueError, match="statistics of the batch"):
        jax.eval_shape(
            partial(network.apply, use_running_average=False, mutable=["batch_stats"]),
            variables,
            images,
            jnp.array([[20, 20]]),
        )


@pytest.mark.parametrize("field", [{"depth": 51}, {"output_stride": 4}, {"version": "v2"}])
def test_unknown_variant_is_an_input_error(field):
    with pytest.raises(InputError, match=f"no {next(iter(field))} .* choose one of"):
        ResNet(**field)
