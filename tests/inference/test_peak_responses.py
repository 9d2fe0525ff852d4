"""Peak response maps of networks with known layers, and of every method's."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import recipe

from hfpl_jax.build import build_network
from hfpl_jax.inference.peak_responses import (
    batch_responses,
    peak_responses,
    responding_convolution,
)
from hfpl_jax.losses import find_peaks
from hfpl_jax.methods import METHODS
from hfpl_jax.models.cam_network import CamOutput
from hfpl_jax.models.convolution import BiasedConvolution


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("size", [1, 3])
def test_a_convolution_hands_on_what_it_gets(stride, dilation, size):
    x, kernel = random(2, 7, 8, 3), random(size, size, 3, 5, seed=1)
    lowest = x.min((1, 2, 3), keepdims=True)

    def convolved(x, kernel):
        return responding_convolution(x, kernel, lowest, stride, dilation)

    y, back = jax.vjp(convolved, x, kernel)
    response = jnp.abs(random(*y.shape, seed=2))
    handed_on, to_kernel = back(response)
    assert (handed_on >= 0).all()
    np.testing.assert_allclose(handed_on.sum((1, 2, 3)), response.sum((1, 2, 3)), rtol=1e-4)
    assert not to_kernel.any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_nothing_positive_is_handed_on_as_nothing(dtype):
    x, kernel = jnp.ones((1, 3, 3, 2), dtype), -jnp.ones((3, 3, 2, 4), dtype)
    lowest = jnp.ones((1, 1, 1, 1), dtype)
    y, back = jax.vjp(lambda x: responding_convolution(x, kernel, lowest), x)
    found = np.asarray(back(jnp.ones_like(y))[0], np.float32)
    assert np.isfinite(found).all()
    assert not found.any()


class Blind(nn.Module):
    """A network whose one convolution has no positive weight."""

    @nn.compact
    def __call__(self, images):
        return CamOutput(BiasedConvolution(2, 3)(images, None), {})


def test_a_map_without_responses_is_zero():
    network, image = Blind(), random(6, 7, 3)
    variables = network.init(jax.random.key(0), image[None])
    variables = jax.tree.map(lambda leaf: -jnp.abs(leaf), variables)
    found = peak_responses(network, variables, image, np.array([[0, 2, 3], [1, 0, 0]]))
    assert found.shape == (2, 6, 7)
    assert not found.any()


def variables_of(network, images):
    """Random as at the start, without compiling what makes them so."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    rng = np.random.default_rng(0)

    def filled(path, leaf):
        if leaf.ndim > 1:
            array = rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        else:
            array = np.full(leaf.shape, path[-1].key in ("scale", "var"))
        return array.astype(np.float32)

    return jax.tree_util.tree_map_with_path(filled, shapes)


def responses_and_logits(name, **model):
    config = recipe(name, "data=scenes")
    for family in ("resnet", "vgg16", "resnet38"):
        config.model[family].width = 8
    config.model.update(model)
    network = build_network(config, 3)
    image = random(32, 40, 3)
    variables = variables_of(network, image[None])
    logits = jax.jit(network.apply)(variables, image[None]).logits
    peaks = np.argwhere(np.asarray(find_peaks(logits)[0]).transpose(2, 0, 1))[:4]
    program = jax.jit(lambda variables, image: peak_responses(network, variables, image, peaks))
    return program(variables, image), peaks


@pytest.mark.parametrize("name", sorted(name for name in METHODS if not METHODS[name].frozen))
def test_of_every_method(name):
    found, peaks = responses_and_logits(name)
    assert found.shape == (len(peaks), 32, 40)
    assert (found >= 0).all()
    total = found.sum((1, 2))
    assert ((total == 0) | (jnp.abs(total - 1) < 1e-4)).all()
    assert total.max() > 0.5


def test_of_bottlenecks():
    """Of the other families of backbones: below."""
    found, _ = responses_and_logits("prm", backbone="resnet50")
    assert np.isfinite(found).all()
    assert found.sum((1, 2)).max() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "backbone"),
    [("prm", "resnet18"), ("drs", "vgg16"), ("cam", "resnet38"), ("group", "resnet18")],
)
def test_padding_changes_nothing(name, backbone):
    """Nor where the minimum of a feature is not 0, as its bias lifts it."""
    config = recipe(name, "data=scenes")
    config.model.backbone = backbone
    for family in ("resnet", "vgg16", "resnet38"):
        config.model[family].width = 8
    network = build_network(config, 3)
    images, sizes = random(2, 40, 48, 3), np.array([[40, 48], [33, 25]])
    variables = variables_of(network, images[:1])
    variables = jax.tree.map(lambda leaf: leaf + 0.05 * (leaf.ndim == 1), variables)
    peaks = np.array([[1, 2, 3], [0, 4, 1]])
    program = jax.jit(functools.partial(batch_responses, network))
    found = np.asarray(program(variables, images, sizes, peaks))
    program = jax.jit(functools.partial(peak_responses, network))
    alone = np.asarray(program(variables, images[1, :33, :25], peaks[1:])[0])
    np.testing.assert_allclose(found[1, :33, :25], alone, atol=1e-4 * alone.max())
    assert alone.sum() == pytest.approx(1.0, abs=1e-4)
    assert not found[1, 33:].any()
    assert not found[1, :, 25:].any()


def test_a_photograph_without_peaks_has_no_maps():
    config = recipe("prm", "data=scenes")
    network = build_network(config, 3)
    image = random(16, 16, 3)
    variables = variables_of(network, image[None])
    found = peak_responses(network, variables, image, np.zeros((0, 3), int))
    assert found.shape == (0, 16, 16)
