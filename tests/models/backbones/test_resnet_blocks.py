"""One block of each kind, operation by operation, against a forward pass in float64
NumPy.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models.backbones.resnet_blocks import BasicBlock, Bottleneck
from hfpl_jax.models.convolution import max_pool


def conv(x, kernel, stride=1, dilation=1):
    size = kernel.shape[0]
    pad = dilation * (size // 2)
    b, h, w, _ = x.shape
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = (np.arange(0, length, stride) for length in (h, w))
    y = np.zeros((b, len(rows), len(columns), kernel.shape[-1]))
    for i in range(size):
        for j in range(size):
            y += x[:, rows + i * dilation][:, :, columns + j * dilation] @ kernel[i, j]
    return y


def norm(x, params, stats):
    return params["scale"] * (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) + params["bias"]


def relu(x):
    return np.maximum(x, 0)


def basic(x, p, s, stride, dilations, stride_in_1x1):
    del stride_in_1x1
    y = relu(norm(conv(x, p["conv1"]["kernel"], stride, dilations[0]), p["conv1"], s["conv1"]))
    y = norm(conv(y, p["conv2"]["kernel"], 1, dilations[1]), p["conv2"], s["conv2"])
    return relu(y + shortcut(x, p, s, stride))


def bottleneck(x, p, s, stride, dilations, stride_in_1x1):
    first, second = (stride, 1) if stride_in_1x1 else (1, stride)
    y = relu(norm(conv(x, p["conv1"]["kernel"], first), p["conv1"], s["conv1"]))
    y = relu(
        norm(
            conv(y, p["conv2"]["kernel"], second, dilations[int(stride_in_1x1)]),
            p["conv2"],
            s["conv2"],
        )
    )
    y = norm(conv(y, p["conv3"]["kernel"]), p["conv3"], s["conv3"])
    return relu(y + shortcut(x, p, s, stride))


def shortcut(x, p, s, stride):
    if "downsample" not in p:
        return x
    return norm(conv(x, p["downsample"]["kernel"], stride), p["downsample"], s["downsample"])


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("stride_in_1x1", [True, False])
@pytest.mark.parametrize(
    ("stride", "dilations", "channels"),
    [(1, (1, 1), 32), (2, (1, 1), 12), (1, (1, 2), 12), (1, (2, 4), 12)],
)
def test_block_equals_numpy(block, stride_in_1x1, stride, dilations, channels):
    rng = np.random.default_rng(0)
    features = 32 // block.expansion
    module = block(features, stride, dilations, stride_in_1x1, {})
    x = rng.normal(size=(2, 11, 14, channels))
    variables = jax.eval_shape(
        partial(module.init, sizes=None, use_running_average=True),
        jax.random.key(0),
        jnp.asarray(x, jnp.float32),
    )
    variables = jax.tree.map(
        lambda leaf: (
            rng.normal(size=leaf.shape) if leaf.ndim > 1 else rng.uniform(0.5, 1.5, leaf.shape)
        ),
        variables,
    )
    assert ("downsample" in variables["params"]) == (stride == 2 or channels != 32)

    apply = jax.jit(partial(module.apply, sizes=None, use_running_average=True))
    y, _ = apply(
        jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), variables),
        jnp.asarray(x, jnp.float32),
    )
    reference = {BasicBlock: basic, Bottleneck: bottleneck}[block]
    expected = reference(
        x, variables["params"], variables["batch_stats"], stride, dilations, stride_in_1x1
    )
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_max_pool_pads_like_torch():
    x = nn.relu(jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 6, 2)), jnp.float32))
    y, sizes = max_pool(x, None)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    expected = np.stack(
        [[padded[0, i : i + 3, j : j + 3].max((0, 1)) for j in (0, 2, 4)] for i in (0, 2, 4)]
    )
    np.testing.assert_array_equal(y[0], expected)
    assert sizes is None
