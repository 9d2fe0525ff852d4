"""ResNet38-d at a width of 2 or 4 channels; the whole network is held against the
published one in test_published_networks.py.
"""

import json
import math
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_resnet import photographs, random_variables
from test_resnet_blocks import conv, norm, relu

from hfpl_jax.models.backbones.resnet38 import ResNet38, WideBlock, WideBottleneck
from hfpl_jax.models.convolution import BatchNorm

GOLDENS = pathlib.Path(__file__).parents[2] / "goldens"


def layer(name, x, p, s):
    return relu(norm(x, p[name], s[name]))


def wide(x, p, s, stride, dilations):
    t = layer("bn_branch2a", x, p, s)
    y = conv(t, p["conv_branch2a"]["kernel"], stride, dilations[0])
    y = conv(layer("bn_branch2b1", y, p, s), p["conv_branch2b1"]["kernel"], 1, dilations[1])
    return y + (conv(t, p["conv_branch1"]["kernel"], stride) if "conv_branch1" in p else x), t


def bottleneck(x, p, s, dilation):
    t = layer("bn_branch2a", x, p, s)
    y = conv(t, p["conv_branch2a"]["kernel"])
    y = conv(layer("bn_branch2b1", y, p, s), p["conv_branch2b1"]["kernel"], 1, dilation)
    return conv(layer("bn_branch2b2", y, p, s), p["conv_branch2b2"]["kernel"]) + conv(
        t, p["conv_branch1"]["kernel"]
    ), t


def random_block(module, x, seed=0):
    rng = np.random.default_rng(seed)
    arguments = {"sizes": None, "use_running_average": True, "deterministic": True}
    variables = jax.eval_shape(
        partial(module.init, **arguments), jax.random.key(0), jnp.asarray(x, jnp.float32)
    )
    variables = jax.tree.map(
        lambda leaf: (
            rng.normal(size=leaf.shape) if leaf.ndim > 1 else rng.uniform(0.5, 1.5, leaf.shape)
        ),
        variables,
    )
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), variables)
    return variables, jax.jit(partial(module.apply, **arguments))(
        single, jnp.asarray(x, jnp.float32)
    )


@pytest.mark.parametrize(
    ("channels", "stride", "dilations", "projected"),
    [(8, 1, (1, 1), False), (8, 2, (1, 1), True), (4, 1, (1, 2), True), (8, 1, (2, 2), False)],
)
def test_wide_block_equals_numpy(channels, stride, dilations, projected):
    x = np.random.default_rng(1).normal(size=(2, 11, 14, channels))
    variables, (y, _, t) = random_block(WideBlock(6, 8, stride, dilations, {}, 0.1), x)
    assert ("conv_branch1" in variables["params"]) == projected
    expected, normalised = wide(x, variables["params"], variables["batch_stats"], stride, dilations)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(t, normalised, rtol=1e-4, atol=1e-5)


def test_wide_bottleneck_equals_numpy():
    x = np.random.default_rng(1).normal(size=(2, 11, 14, 4))
    variables, (y, _, t) = random_block(WideBottleneck(8, 4, 0.5, {}, 0.1), x)
    assert variables["params"]["conv_branch2b1"]["kernel"].shape == (3, 3, 2, 4)
    expected, normalised = bottleneck(x, variables["params"], variables["batch_stats"], 4)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(t, normalised, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rate", [0.3, 0.5])
def test_dropout_drops_whole_channels_of_an_image_and_scales_the_others(rate):
    module = WideBottleneck(8, 4, rate, {}, 0.1)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(300, 4, 4, 4)), jnp.float32)
    variables, _ = random_block(module, x)
    # The block's output becomes what the second dropout lets through: four channels,
    # all positive, 100 apart from noise.
    params = variables["params"]
    params["conv_branch1"]["kernel"][:] = 0.0
    params["conv_branch2b1"]["kernel"][:] = 0.0
    params["bn_branch2b2"]["bias"][:] = 100.0
    params["conv_branch2b2"]["kernel"] = np.eye(4, 8)[None, None]
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), variables)

    def forward(deterministic, seed):
        arguments = {"sizes": None, "use_running_average": True, "deterministic": deterministic}
        return np.asarray(
            module.apply(variables, x, **arguments, rngs={"dropout": jax.random.key(seed)})[0]
        )[..., :4]

    exact, dropped = forward(True, 0), forward(False, 0)
    fallen = (dropped == 0).all((1, 2))
    np.testing.assert_allclose(
        dropped, np.where(fallen[:, None, None], 0.0, exact / (1 - rate)), rtol=1e-4
    )
    assert fallen.mean() == pytest.approx(rate, abs=0.06)  # 1200 draws: four deviations
    assert (fallen != (forward(False, 1) == 0).all((1, 2))).any()


def test_features_strides_channels_and_parameters_of_the_published_size():
    network = ResNet38()
    images = jax.ShapeDtypeStruct((2, 65, 96, 3), jnp.float32)
    features, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    assert {name: feature.shape for name, feature in features.items()} == {
        "conv4": (2, 9, 12, 512),
        "conv5": (2, 9, 12, 1024),
        "conv6": (2, 9, 12, 4096),
    }
    assert set(network.strides.values()) == {network.output_stride} == {8}
    assert network.head_feature == "conv6"
    published = json.loads((GOLDENS / "resnet38_seam_names.json").read_text())
    backbone = [
        math.prod(shape)
        for name, shape in published.items()
        if name.startswith(("b", "conv1a")) and "_batches_" not in name
    ]
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == sum(backbone)
    blocks = [
        "b2",
        "b2_1",
        "b2_2",
        "b3",
        "b3_1",
        "b3_2",
        "b4",
        *(f"b4_{i}" for i in range(1, 6)),
        "b5",
        "b5_1",
        "b5_2",
        "b6",
        "b7",
    ]
    assert set(variables["params"]) == {"conv1a", "bn7", *blocks}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes(dtype):
    network = ResNet38(width=2, dtype=dtype, param_dtype=dtype)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["batch_stats"])} == {
        jnp.dtype(jnp.float32)
    }
    for running in (True, False):
        apply = partial(network.apply, use_running_average=running, mutable=["batch_stats"])
        features, updated = jax.eval_shape(apply, variables, images)
        assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(dtype)}
        assert {leaf.dtype for leaf in jax.tree.leaves(updated)} <= {jnp.dtype(jnp.float32)}


def test_padded_image_equals_the_image_alone_and_bfloat16_is_close():
    network = ResNet38(width=2)
    images = photographs(2, 40, 64, 3)  # the padding holds noise: it must not matter
    variables = random_variables(network, images[:1])
    padded = jax.jit(network.apply)(variables, images, jnp.array([[40, 64], [33, 45]]))
    alone = jax.jit(network.apply)(variables, images[1:, :33, :45])
    for name in network.strides:
        assert alone[name].shape[1:3] == (5, 6)
        tolerance = 2e-5 * float(jnp.abs(alone[name]).max())
        np.testing.assert_allclose(
            padded[name][1, :5, :6], alone[name][0], rtol=1e-4, atol=tolerance, err_msg=name
        )

    half = jax.jit(ResNet38(width=2, dtype=jnp.bfloat16).apply)(variables, images[1:, :33, :45])[
        "conv6"
    ].astype(jnp.float32)
    assert (
        0 < float(jnp.abs(half - alone["conv6"]).max()) < 0.1 * float(jnp.abs(alone["conv6"]).max())
    )


def test_padding_with_batch_statistics_is_refused():
    network = ResNet38(width=2)
    images = photographs(1, 32, 32, 3)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    with pytest.raises(ValueError, match="statistics of the batch"):
        jax.eval_shape(
            partial(network.apply, use_running_average=False, mutable=["batch_stats"]),
            variables,
            images,
            jnp.array([[20, 20]]),
        )


@pytest.mark.parametrize("momentum", [0.1, 0.0003])
def test_batch_norm_uses_and_stores_the_statistics_of_the_batch(momentum):
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, size=(3, 4, 5, 6))
    p, s = (
        {name: rng.uniform(0.5, 1.5, 6) for name in names}
        for names in (("scale", "bias"), ("mean", "var"))
    )
    variables = jax.tree.map(
        partial(jnp.asarray, dtype=jnp.float32), {"params": p, "batch_stats": s}
    )
    module, images = BatchNorm(momentum), jnp.asarray(x, jnp.float32)

    np.testing.assert_allclose(
        module.apply(variables, images, True), norm(x, p, s), rtol=1e-4, atol=1e-5
    )
    y, updated = module.apply(variables, images, False, mutable=["batch_stats"])
    batch = {"mean": x.mean((0, 1, 2)), "var": x.var((0, 1, 2))}
    np.testing.assert_allclose(y, norm(x, p, batch), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        updated["batch_stats"]["mean"],
        (1 - momentum) * s["mean"] + momentum * batch["mean"],
        rtol=1e-5,
    )
    unbiased = x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(
        updated["batch_stats"]["var"], (1 - momentum) * s["var"] + momentum * unbiased, rtol=1e-5
    )


def test_momentum_reaches_every_layer():
    images = photographs(2, 16, 16, 3)
    network = ResNet38(width=2, batch_norm_momentum=1.0)
    variables = random_variables(network, images)
    _, updated = jax.jit(
        partial(network.apply, use_running_average=False, mutable=["batch_stats"])
    )(variables, images)
    for (path, new), old in zip(
        jax.tree_util.tree_leaves_with_path(updated),
        jax.tree.leaves(variables["batch_stats"]),
        strict=True,
    ):
        assert not np.any(new == old), (
            path
        )  # with a momentum of 1 nothing is left of what was stored


def test_gradient_of_a_block_is_finite_in_training():
    module = WideBottleneck(8, 4, 0.5, {}, 0.1)
    x = jnp.zeros((2, 4, 4, 4))  # statistics of constant channels: variance 0
    arguments = {"sizes": None, "use_running_average": False}
    variables = module.init(jax.random.key(0), x, **arguments, deterministic=True)

    def loss(variables, x):
        (y, _, _), _ = module.apply(
            variables,
            x,
            **arguments,
            deterministic=False,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
        )
        return jnp.sum((y - 1.0) ** 2)

    for gradient in jax.tree.leaves(jax.jit(jax.grad(loss, argnums=(0, 1)))(variables, x)):
        assert np.isfinite(gradient).all()
