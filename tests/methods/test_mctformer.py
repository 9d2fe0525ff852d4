"""MCTformer: its maps, padded and divided; files of DeiT; slips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from hfpl_jax.errors import InputError
from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.mctformer import Mctformer, stretched
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.vit import Vit
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.training.objective import Batch

CLASSES = 5
VIT = Vit(width=16, heads=2, patch=8, table=3, depth=3)


def network_of(method):
    return method.network(VIT, CLASSES, frozen_batch_norm=True, dropout=0.0)


def filled(network):
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: (0.3 * rng.normal(size=leaf.shape)).astype(np.float32), shapes)


def photographs(*shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("positions", ["antialiased", "shifted"])
def test_maps_of_a_padded_batch_are_those_of_each_image_alone(positions):
    method = Mctformer(positions=positions, fusion="root", pooling="ranked")
    network = network_of(method)
    variables = filled(network)

    @jax.jit
    def maps(images, sizes=None):
        return method.maps(lambda *a, **k: network.apply(variables, *a, **k), images, sizes)

    images, sizes = photographs(2, 40, 32, 3), np.array([[40, 32], [17, 24]])
    padded = maps(images, jnp.asarray(sizes))
    for index, (height, width) in enumerate(sizes):
        alone = maps(images[index : index + 1, :height, :width])
        h, w = alone.cams.shape[1:3]
        for found, expected in zip(padded, alone, strict=True):
            scale = float(jnp.abs(expected).max())
            np.testing.assert_allclose(found[index, :h, :w], expected[0], atol=1e-4 * scale)


def test_a_step_has_finite_gradients_with_both_losses():
    method = Mctformer(contrast=1.0)
    network, batch = network_of(method), 2
    variables = filled(network)
    given = Batch(
        photographs(batch, 24, 24, 3),
        jnp.eye(CLASSES)[:batch],
        jnp.ones((batch, 24, 24), bool),
        jnp.float32(0),
    )

    def total(params):
        def apply(*arguments, **options):
            return network.apply({"params": params}, *arguments, **options)

        made = Hfpl(method, isl_weight=0.2, fsl_weight=1.0).predict(apply, given, jax.random.key(0))
        assert made.losses.keys() == made.weights.keys()
        return sum(made.weights[name] * loss for name, loss in made.losses.items())

    slopes = jax.jit(jax.grad(total))(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    moved = slopes["backbone"]["embed"]
    assert np.abs(moved["class_tokens"]).min() > 0.0
    assert np.abs(moved["positions"]).min() > 0.0


def test_stretched():
    found = stretched(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32)[..., None])
    np.testing.assert_allclose(found[..., 0], [[0, 1], [0.5, 1]], atol=1e-6)
    assert not stretched(np.ones((2, 2, 1), np.float32)).any()


def test_class_tokens_start_as_the_one_of_a_file(tmp_path):
    """In the same place."""
    rng, arrays = np.random.default_rng(2), {}
    shapes = jax.eval_shape(VIT.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    for way, leaf in jax.tree_util.tree_leaves_with_path(shapes["params"]):
        key, layout = VIT.weight_names[0].find("/".join(part.key for part in way))
        arrays[key] = rng.normal(size=layout.in_file(leaf.shape)).astype(np.float32)
    safetensors.numpy.save_file(arrays, tmp_path / "deit.safetensors")
    network = network_of(Mctformer())
    abstract = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    loaded = load_backbone(tmp_path / "deit.safetensors", abstract, network.backbone)
    embed = loaded["params"]["backbone"]["embed"]
    for index in range(CLASSES):
        np.testing.assert_array_equal(embed["class_tokens"][0, index], arrays["cls_token"][0, 0])
        np.testing.assert_array_equal(embed["positions"][0, index], arrays["pos_embed"][0, 0])
    np.testing.assert_array_equal(embed["positions"][0, CLASSES:], arrays["pos_embed"][0, 1:])


def test_a_backbone_without_tokens_is_a_sentence():
    entry = BACKBONES["resnet50"]
    resnet = entry.network(entry.settings())
    with pytest.raises(InputError, match=r"needs a vision transformer, but config\.model\.backbo"):
        Mctformer().check_backbone(resnet, "resnet50")
    Cam().check_backbone(resnet, "resnet50")
    with pytest.raises(InputError, match=r"blocks = 4, but the network has 3\. Set it to 3"):
        Mctformer(blocks=4).check_backbone(VIT, "vit")
