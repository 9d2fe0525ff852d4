import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models import co_attention
from hfpl_jax.models.co_attention import CoAttention, attend


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def expected_message(own, other, params, valid):
    """Of one pair of maps [n, k], by the pixels of the other that are `valid`."""
    a = own.astype(np.float64) @ params["asking"]["kernel"] + params["asking"]["bias"]
    b = other.astype(np.float64) @ params["keys"]["kernel"]
    weights = np.exp(a @ b.T) * valid
    told = (weights / weights.sum(1, keepdims=True)) @ other
    return told / (1 + np.exp(-(told @ params["gate"]["kernel"])))


@pytest.fixture(scope="module")
def attention():
    module = CoAttention(jax.nn.initializers.normal(0.5))
    maps = jnp.zeros((1, 2, 2, 2, 6))
    params = jax.tree.map(np.asarray, module.init(jax.random.key(0), maps, ((1,), (0,)))["params"])
    params["asking"]["bias"] = random(3, seed=1)
    return jax.jit(module.apply, static_argnums=2), params


@pytest.mark.parametrize("pairs", [co_attention.TILE_PAIRS, 31])
def test_messages_of_every_edge(attention, pairs, monkeypatch):
    """In the order of the neighbours, some rows of an affinity at a time."""
    monkeypatch.setattr(co_attention, "TILE_PAIRS", pairs)
    jax.clear_caches()
    apply, params = attention
    maps, neighbours = random(2, 3, 3, 4, 6), ((1, 2), (0, 2), (0, 1))
    valid = np.random.default_rng(2).random((2, 3, 3, 4)) < 0.6
    found = apply({"params": params}, maps, neighbours, valid)
    assert found.shape == (2, 3, 3, 4, 12)
    flat, inside = maps.reshape(2, 3, 12, 6), valid.reshape(2, 3, 12)
    for group in range(2):
        for member, others in enumerate(neighbours):
            expected = [
                expected_message(flat[group, member], flat[group, other], params, seen)
                for other in others
                for seen in [inside[group, other]]
            ]
            np.testing.assert_allclose(
                found[group, member].reshape(12, 12), np.concatenate(expected, -1), atol=1e-5
            )


def test_a_uniform_affinity_tells_the_mean():
    values = random(1, 1, 1, 5, 4)
    told = attend(np.zeros((1, 1, 3, 2), np.float32), random(1, 1, 1, 5, 2), values)
    np.testing.assert_allclose(told[0, 0, 0], [values[0, 0, 0].mean(0)] * 3, atol=1e-6)


def test_large_affinities_stay_finite():
    keys = 1e4 * random(1, 1, 1, 5, 2)
    told, back = jax.vjp(lambda keys: attend(keys[:, :, 0], keys, keys), keys)
    assert np.isfinite(told).all()
    assert np.isfinite(back(jnp.ones_like(told))[0]).all()
