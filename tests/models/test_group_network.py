import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from staged_backbone import Stages
from test_resnet import photographs

from hfpl_jax.losses import gap_loss
from hfpl_jax.models.drs_network import DrsNetwork
from hfpl_jax.models.graph_dropout import graph_dropout
from hfpl_jax.models.group_network import ROUNDS, GroupGraph, GroupNetwork, neighbours_of
from hfpl_jax.runtime.sharding import batch_sharding

CLASSES = 4


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def graph_and_params(size):
    """With weights large enough for every part to count."""
    graph = GroupGraph(size, CLASSES, jax.nn.initializers.normal(0.4))
    params = graph.init(jax.random.key(0), jnp.zeros((1, size, 3, 3, CLASSES)))
    return graph, params


@pytest.mark.parametrize(
    ("members", "count", "expected"),
    [
        (3, 2, ((1, 2), (0, 2), (0, 1))),
        (4, 3, ((1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2))),
        (2, 3, ((1, 1, 1), (0, 0, 0))),
        (3, 3, ((1, 2, 1), (0, 2, 0), (0, 1, 0))),
        (1, 2, ((0, 0),)),
    ],
)
def test_neighbours_in_the_order_of_their_numbers(members, count, expected):
    assert neighbours_of(members, count) == expected


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_group_does_not_depend_on_the_others_of_its_batch(size):
    graph, params = graph_and_params(size)
    maps, draws = random(3, size, 4, 5, CLASSES), np.random.default_rng(1).random((ROUNDS, 3, size))
    apply = jax.jit(graph.apply)
    together = apply(params, maps, None, draws.astype(np.float32))
    assert together.shape == maps.shape
    for group in range(3):
        own = np.s_[group : group + 1]
        alone = apply(params, maps[own], None, draws[:, own].astype(np.float32))
        np.testing.assert_allclose(together[own], alone, atol=1e-6)
    # Each member hears of every other one.
    for other in range(size):
        changed = maps.copy()
        changed[0, other] += 1.0
        moved = np.abs(apply(params, changed, None, None) - apply(params, maps, None, None))
        assert (moved[0].max((1, 2, 3)) > 1e-4).all()
        assert moved[1:].max() < 1e-6


def test_every_round_has_draws_of_its_own():
    graph, params = graph_and_params(3)
    maps, draws = random(1, 3, 4, 5, CLASSES), np.zeros((ROUNDS, 1, 3), np.float32)
    apply = jax.jit(graph.apply)
    plain = apply(params, maps, None, draws)
    for place in range(ROUNDS):
        other = draws.copy()
        other[place, 0, 1] = 0.5  # at 0.2 and above what stands out is halved
        assert np.abs(apply(params, maps, None, other) - plain).max() > 1e-3
    assert not np.array_equal(apply(params, maps, None, None), plain)


def test_padding_takes_no_part():
    """In messages, in the fusion, or in the maximum of the dropout."""
    graph, params = graph_and_params(3)
    maps, draws = random(2, 3, 4, 6, CLASSES), np.full((ROUNDS, 2, 3), 0.9, np.float32)
    extents = np.array([[[4, 6]] * 3, [[3, 4]] * 3])
    maps[1, :, 3:], maps[1, :, :, 4:] = 50.0, -50.0
    apply = jax.jit(graph.apply)
    padded = apply(params, maps, extents, draws)
    alone = apply(params, maps[1:, :, :3, :4], None, draws[:, 1:])
    np.testing.assert_allclose(padded[1, :, :3, :4], alone[0], atol=1e-5)


def test_views_of_unequal_sizes_hear_each_other():
    """The smaller one is padded, and its padding is nothing that is heard."""
    graph, params = graph_and_params(2)
    maps, extents = random(1, 2, 4, 6, CLASSES), np.array([[[4, 6], [2, 3]]])
    other = maps.copy()
    other[0, 1, 2:], other[0, 1, :, 3:] = 9.0, -9.0
    apply = jax.jit(graph.apply)
    found, again = (apply(params, each, extents, None) for each in (maps, other))
    np.testing.assert_allclose(found[0, 0], again[0, 0], atol=1e-6)


@pytest.mark.parametrize("fill", [0.0, -3.0, 1e3])
def test_flat_maps_have_finite_gradients(fill):
    graph, params = graph_and_params(3)
    draws = np.tile(np.float32([0.0, 0.5, 0.9]), (ROUNDS, 1, 1))

    def loss(params, maps):
        return gap_loss(graph.apply(params, maps, None, draws)[0], jnp.ones((3, CLASSES)))

    slopes = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, jnp.full((1, 3, 2, 2, CLASSES), fill))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_what_stands_out_is_halved_inside_the_image():
    """A larger value in the padding is no maximum."""
    maps = np.array([1.0, 0.8, 0.2, 9.0], np.float32).reshape(1, 1, 4, 1)
    valid = np.array([True, True, True, False]).reshape(1, 1, 4)
    drops, keeps = np.float32([0.2]), np.float32([0.19])
    found = graph_dropout(maps, drops, valid)
    np.testing.assert_allclose(found[0, 0, :3, 0], [0.5, 0.4, 0.2])
    scaled = graph_dropout(maps, keeps, valid)[0, 0, :3, 0]
    expected = np.array([1.0, 0.8, 0.2])
    np.testing.assert_allclose(scaled, expected * (1 + 1 / (1 + np.exp(-expected))) / 2, rtol=1e-6)


@pytest.fixture(scope="module")
def network():
    return GroupNetwork(Stages(), CLASSES)


@pytest.fixture(scope="module")
def variables(network):
    made = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    made["params"]["graph"] = graph_and_params(3)[1]["params"]
    made["params"]["head"] = jax.tree.map(lambda leaf: 20 * leaf, made["params"]["head"])
    return made


def test_the_maps_before_are_those_of_a_classifier(network, variables):
    """And an image that is in no group hears itself alone."""
    images = photographs(2, 32, 48, 3)
    output = jax.jit(network.apply)(variables, images)
    params = {name: variables["params"][name] for name in ("backbone", "head")}
    plain = jax.jit(DrsNetwork(Stages(), CLASSES).apply)({"params": params}, images)
    np.testing.assert_allclose(output.before, plain.logits, atol=1e-6)
    graph, maps = GroupGraph(3, CLASSES), output.before[:1][:, None]
    thrice = graph.apply({"params": variables["params"]["graph"]}, jnp.repeat(maps, 3, axis=1))
    np.testing.assert_allclose(output.logits[:1], thrice[:, 0], atol=1e-5)
    assert output.logits.dtype == output.before.dtype == jnp.float32


def test_a_padded_group_equals_the_group_alone(network, variables):
    images = photographs(3, 48, 64, 3)  # the padding holds noise: it must not matter
    apply = jax.jit(lambda *given: network.apply(variables, *given, members=3))
    padded = apply(images, jnp.array([[39, 50]] * 3))
    alone = apply(images[:, :39, :50])
    assert alone.logits.shape == (3, 3, 4, CLASSES)
    np.testing.assert_allclose(padded.logits[:, :3, :4], alone.logits, rtol=1e-3, atol=1e-4)


def test_in_training_draws_follow_the_key(network, variables):
    images = photographs(6, 32, 32, 3)
    apply = jax.jit(
        lambda key: (
            network.apply(variables, images, train=True, members=3, rngs={"dropout": key}).logits
        )
    )
    first, again, other = (apply(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_a_divided_batch_of_groups_gives_the_same_numbers():
    graph, params = graph_and_params(3)
    maps, draws = random(24, 3, 4, CLASSES), np.random.default_rng(1).random((ROUNDS, 8, 3))
    labels = np.asarray(np.random.default_rng(2).random((24, CLASSES)) < 0.5, np.float32)

    @jax.jit
    def step(params, maps, labels):
        def loss(params, maps):
            groups = maps.reshape(-1, 3, *maps.shape[1:])
            told = graph.apply(params, groups, None, draws.astype(np.float32))
            return gap_loss(told.reshape(maps.shape), labels)

        return jax.value_and_grad(loss, argnums=(0, 1))(params, maps)

    value, slopes = step(params, maps, labels)
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    assert mesh.size == 8
    divided = jax.device_put((maps, labels), batch_sharding(mesh))
    value_divided, slopes_divided = step(params, *divided)
    assert float(value_divided) == pytest.approx(float(value), rel=1e-6)
    for slope, expected in zip(
        jax.tree.leaves(slopes_divided), jax.tree.leaves(slopes), strict=True
    ):
        np.testing.assert_allclose(slope, expected, atol=1e-5 * np.abs(expected).max())
