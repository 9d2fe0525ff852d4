"""AMDIM's estimation against sums written out, over devices and at its edges; its values
against the published program's are in experiments/parity.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hfpl_jax.errors import InputError
from hfpl_jax.losses.contrastive_estimation import contrastive_estimation, multiscale_losses

B, K = 8, 6


def drawn(*shape, scale=1.0):
    return np.random.default_rng(shape).normal(0.0, scale, shape).astype(np.float32)


def by_hand(sources, targets, clip):
    scores = np.einsum("bk,nlk->bnl", np.float64(sources), np.float64(targets))
    scores /= np.sqrt(sources.shape[1])
    clipped, losses = clip * np.tanh(scores / clip), []
    for image in range(len(sources)):
        others = [np.exp(clipped[image, n]).sum() for n in range(len(sources)) if n != image]
        for place in range(targets.shape[1]):
            own = np.exp(clipped[image, image, place])
            losses.append(-np.log(own / (own + sum(others))))
    return np.mean(losses), 0.05 * np.mean(scores**2)


@pytest.mark.parametrize("clip", [20.0, 3.0])
def test_one_direction_is_the_sum_written_out(clip):
    sources, targets = drawn(5, K, scale=2.0), drawn(5, 4, K, scale=2.0)
    found = contrastive_estimation(sources, targets, clip=clip)
    np.testing.assert_allclose(found, by_hand(sources, targets, clip), rtol=1e-5)


def maps():
    return {
        "whole": drawn(2, B, K),
        "five": drawn(2, B, 5, 5, K),
        "seven": drawn(2, B, 7, 7, K),
        "places": np.random.default_rng(0).integers(0, 25, (2, B)),
    }


def test_the_terms_are_means_of_both_directions_and_half_of_all_regularisers():
    given = maps()
    whole, places = given["whole"], given["places"]
    five, seven = (given[name].reshape(2, B, -1, K) for name in ("five", "seven"))
    parts = np.stack([five[view, np.arange(B), places[view]] for view in (0, 1)])
    found = multiscale_losses(**given)
    squares = 0.0
    for name, source, target in (
        ("one_to_five", whole, five),
        ("one_to_seven", whole, seven),
        ("five_to_five", parts, five),
    ):
        one, other = (by_hand(source[view], target[1 - view], 20.0) for view in (0, 1))
        assert float(found[name]) == pytest.approx((one[0] + other[0]) / 2, rel=1e-5)
        squares += one[1] + other[1]
    assert float(found["regulariser"]) == pytest.approx(squares / 2, rel=1e-5)


def test_scores_of_half_precision_are_float32():
    sources, targets = (
        jnp.asarray(drawn(*shape, scale=5.0), jnp.bfloat16) for shape in ((B, K), (B, 3, K))
    )
    found = contrastive_estimation(sources, targets)
    exact = by_hand(np.asarray(sources, np.float64), np.asarray(targets, np.float64), 20.0)
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_negatives_are_those_of_the_batch_over_all_devices():
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec(None, "data"))

    def total(given):
        return sum(multiscale_losses(**given).values())

    features = {name: array for name, array in maps().items() if name != "places"}
    alone = jax.value_and_grad(lambda each: total({**each, "places": maps()["places"]}))
    one = jax.jit(alone)(features)
    eight = jax.jit(alone)(jax.device_put(features, split))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), one, eight)


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_gradients_are_finite_where_all_is_zero_or_clipped(scale):
    given = {name: scale * array for name, array in maps().items() if name != "places"}
    loss = lambda each: sum(multiscale_losses(**each, places=maps()["places"]).values())  # noqa: E731
    value, gradients = jax.value_and_grad(loss)(given)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_a_photograph_alone_is_told():
    with pytest.raises(InputError, match="no others that it could be told from"):
        contrastive_estimation(drawn(1, K), drawn(1, 4, K))
