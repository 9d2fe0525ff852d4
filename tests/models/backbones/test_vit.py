"""Vision transformers: their maps, their padding, their attention, timm's files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.vit import Vit
from hfpl_jax.models.patch_embedding import STATISTICS
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.models.pretrained import load_backbone

TINY = {"width": 16, "heads": 2, "patch": 8, "table": 3, "depth": 3}
KINDS = {
    "vit": {"statistics": "half"},
    "distilled": {"distilled": True},
    "registers": {"registers": 4, "layer_scale": True},
    "clip": {
        "statistics": "clip",
        "activation": "quick_gelu",
        "epsilon": 1e-5,
        "normalized": True,
    },
}


def photographs(*shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def shapes(network):
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


def filled(network, seed=0):
    """Variables of which none has the value that it starts from."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: (0.3 * rng.normal(size=leaf.shape)).astype(np.float32), shapes(network)
    )


@pytest.fixture(params=KINDS)
def network(request):
    return Vit(**TINY, **KINDS[request.param])


def test_a_padded_batch_equals_each_image_alone(network):
    sizes = np.array([[48, 40], [37, 33], [8, 31]])
    images = photographs(3, 48, 40, 3)  # the padding holds noise
    variables = filled(network)
    padded = jax.jit(network.apply)(variables, images, jnp.asarray(sizes))
    for index, (height, width) in enumerate(sizes):
        alone = jax.jit(network.apply)(variables, images[index : index + 1, :height, :width])
        assert alone.keys() == network.strides.keys()
        for name, feature in alone.items():
            h, w = -(-height // 8), -(-width // 8)
            assert feature.shape == (1, h, w, network.width)
            np.testing.assert_allclose(padded[name][index, :h, :w], feature[0], atol=2e-5)


def test_attention_is_what_the_tokens_looked_at(network):
    """Asking for it changes nothing; nobody looks at padding."""
    variables, images = filled(network), photographs(2, 24, 16, 3)
    sizes = jnp.array([[24, 16], [16, 9]])

    def look(**options):
        return network.apply(variables, images, sizes, method="look", **options)

    (asked, normed), (_, plain) = look(attention=True), look()
    np.testing.assert_allclose(normed[0], plain[0], atol=1e-5)
    assert asked.grid == (3, 2)
    assert len(asked.attention) == network.depth
    for weights in asked.attention:
        assert weights.shape == (2, asked.front + 6, asked.front + 6)
        np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
        np.testing.assert_array_equal(weights[1, :, asked.front + 4 :], 0.0)
        assert weights[1, :, : asked.front + 4].min() > 0.0


def test_colours_are_normalised_as_the_weights_were_trained():
    """A photograph of the mean colour is 0 to its network, as padding is."""
    for kind in ("vit", "clip"):
        network = Vit(**TINY, **KINDS[kind])
        mean, _ = STATISTICS[network.statistics]
        shown = np.broadcast_to((mean - IMAGENET_MEAN) / IMAGENET_STD, (1, 16, 16, 3))
        variables = filled(network)
        seen, _ = network.apply(variables, jnp.asarray(shown, jnp.float32), method="look")
        none = {**variables["params"]["embed"]}
        none["patches"] = jax.tree.map(
            lambda leaf: leaf if leaf.ndim == 1 else 0 * leaf, none["patches"]
        )
        blank = {"params": {**variables["params"], "embed": none}}
        expected, _ = network.apply(blank, photographs(1, 16, 16, 3), method="look")
        np.testing.assert_allclose(seen.tokens[0], expected.tokens[0], atol=1e-5)


def test_half_precision_follows(network):
    variables, images = filled(network), photographs(1, 24, 24, 3)
    full = network.apply(variables, images)["norm"]
    half = network.clone(dtype=jnp.bfloat16).apply(variables, images)["norm"]
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.05 * jnp.abs(full).max())


def test_branches_are_left_out_in_training_alone():
    network = Vit(**TINY, drop_path=0.9)
    variables, images = filled(network), photographs(8, 16, 16, 3)

    def features(key, **options):
        return network.apply(variables, images, rngs={"dropout": jax.random.key(key)}, **options)

    np.testing.assert_array_equal(features(0)["norm"], features(1)["norm"])
    one, other = (features(key, deterministic=False) for key in (0, 1))
    np.testing.assert_array_equal(one["block1"], other["block1"])  # of the rate 0
    assert not np.allclose(one["block3"], other["block3"])
    same = [np.allclose(a, b) for a, b in zip(one["block3"], features(0)["block3"], strict=True)]
    assert not all(same)


COUNTS = {  # parameters of timm's models without their classifiers
    "vit_tiny16": 5_524_416,
    "deit_small16": 21_665_664,
    "deit_base16_distilled": 85_800_192,
    "dinov2_small14": 22_056_192,
    "dinov2_base14_registers": 86_582_016,
    "clip_base16": 85_799_424,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_those_of_timm(name):
    entry = BACKBONES[name]
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(shapes(entry.network(entry.settings()))))
        == (COUNTS[name])
    )


def file_of(network, path, **changes):
    """A weight file with random numbers that fits the network, but for the changes."""
    names, rng, arrays = network.weight_names[0], np.random.default_rng(3), {}
    for way, leaf in jax.tree_util.tree_leaves_with_path(shapes(network)["params"]):
        key, layout = names.find("/".join(part.key for part in way))
        arrays[key] = rng.normal(size=layout.in_file(leaf.shape)).astype(np.float32)
    arrays = {name: array for name, array in (arrays | changes).items() if array is not None}
    safetensors.numpy.save_file(arrays, path)
    return arrays


def test_a_file_of_timm(network, tmp_path):
    path = tmp_path / "vit.safetensors"
    arrays = file_of(network, path, **{"head.weight": np.zeros((7, 16), np.float32)})
    params = load_backbone(path, shapes(network), network)["params"]
    np.testing.assert_array_equal(
        params["block1"]["query_key_value"]["kernel"], arrays["blocks.1.attn.qkv.weight"].T
    )
    np.testing.assert_array_equal(params["embed"]["positions"], arrays["pos_embed"])
    np.testing.assert_array_equal(
        params["embed"]["patches"]["kernel"],
        arrays["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
    )
    if network.layer_scale:
        np.testing.assert_array_equal(params["block2"]["scale2"], arrays["blocks.2.ls2.gamma"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reg_token": None}, r"missing: reg_token \(1, 4, 16\)"),
        ({"dist_token": np.zeros((1, 1, 16), np.float32)}, r"unknown: dist_token"),
        ({"pos_embed": np.zeros((1, 16, 16), np.float32)}, r"wrong shape: pos_embed"),
    ],
)
def test_a_file_of_another_family_is_a_sentence(changes, sentence, tmp_path):
    network, path = Vit(**TINY, **KINDS["registers"]), tmp_path / "vit.safetensors"
    file_of(network, path, **changes)
    with pytest.raises(InputError, match=rf"looks like a vision transformer(?s:.*){sentence}"):
        load_backbone(path, shapes(network), network)
