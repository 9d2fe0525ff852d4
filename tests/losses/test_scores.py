import chex
import jax
import jax.numpy as jnp
import loss_oracles as oracle
import numpy as np
import pytest
from loss_oracles import assert_close

from hfpl_jax.losses import (
    add_background,
    feature_similarity_loss,
    max_normalize,
    similarity_scores,
)


def random_inputs(shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(0, 3, shape), jnp.float32), jnp.asarray(
        rng.random((shape[0], shape[-1])) < 0.5, jnp.float32
    )


def edge_cases():
    logits, _ = random_inputs((2, 4, 5, 3))
    return {
        "nothing positive": -jnp.abs(logits) - 1.0,
        "nothing below zero": jnp.abs(logits) + 2.0,
        "flat": jnp.full((2, 4, 5, 3), 1.7),
        "zero": jnp.zeros((2, 4, 5, 3)),
        "huge": logits * 1e4,
        "tiny": logits * 1e-6,
        "one pixel": logits[:, :1, :1],
    }


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 6, 3), (3, 7, 4, 5)])
def test_max_normalize_oracle(shape):
    logits, _ = random_inputs(shape)
    assert_close(max_normalize(logits), oracle.max_normalize(np.asarray(logits)))


@pytest.mark.parametrize("name", edge_cases())
def test_edge_cases_are_right_and_finite(name):
    logits = edge_cases()[name]
    labels = jnp.asarray([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    scores, pull_back = jax.vjp(jax.jit(lambda z: similarity_scores(z, labels)), logits)
    np.testing.assert_allclose(
        scores, oracle.similarity_scores(np.asarray(logits), labels), rtol=1e-5, atol=1e-5
    )
    assert 0.0 <= float(scores.min()) <= float(scores.max()) <= 1.0
    for seed in range(3):
        (gradient,) = pull_back(
            jnp.asarray(np.random.default_rng(seed).normal(size=scores.shape), jnp.float32)
        )
        assert np.isfinite(gradient).all()
        assert not gradient[1].any()  # no class in the image
        assert not gradient[0, ..., 1].any()


@pytest.mark.parametrize("peak_floor", [0.3, 2.0, 50.0])
def test_a_peak_floor_equals_the_oracle_on_every_edge_case(peak_floor):
    labels = jnp.asarray([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    for name, logits in edge_cases().items():
        np.testing.assert_allclose(
            similarity_scores(logits, labels, peak_floor=peak_floor),
            oracle.similarity_scores(np.asarray(logits), labels, peak_floor),
            rtol=1e-5,
            atol=1e-6,
            err_msg=name,
        )


def test_a_peak_next_to_nothing_outweighs_a_batch_only_without_a_floor():
    """What made the quickstart collapse: of one class in one image a single pixel is
    above 0, by 7.6e-5. A step of a learning rate of 0.05 then moves that map's logits
    by what the rest of a training does.
    """
    logits = np.random.default_rng(0).uniform(-3, -1, (1, 12, 12, 1)).astype(np.float32)
    logits[0, 5, 5] = 7.6e-5
    colours = jnp.asarray(np.random.default_rng(1).random((1, 12, 12, 3)), jnp.float32)

    def longest(peak_floor):
        def loss(logits):
            scores = similarity_scores(logits, jnp.ones((1, 1)), peak_floor=peak_floor)
            return feature_similarity_loss(colours, scores, sigma=2.5)

        return float(jnp.abs(jax.grad(loss)(jnp.asarray(logits))).max())

    assert longest(0.0) > 1e3 * longest(1.0) > 0
    assert longest(1.0) < 0.01


def test_flat_and_negative_maps_become_zero():
    for name in ("nothing positive", "flat", "zero", "one pixel"):
        assert not max_normalize(edge_cases()[name]).any()


def test_gradient_flows_through_minimum_and_maximum():
    logits = jnp.asarray(np.random.default_rng(0).uniform(0.5, 3, (1, 3, 4, 2)), jnp.float32)
    direction = np.random.default_rng(1).normal(size=logits.shape)
    step = 1e-6
    ahead, behind = (
        oracle.max_normalize(np.asarray(logits, np.float64) + sign * step * direction)
        for sign in (1, -1)
    )
    slope = jax.jvp(max_normalize, (logits,), (jnp.asarray(direction, jnp.float32),))[1]
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-4)


def test_background_is_what_the_strongest_class_leaves():
    scores = jnp.asarray([0.1, 0.7, 0.2, 0.0, 0.0, 0.0, 1.0, 0.3, 1.0], jnp.float32).reshape(
        1, 1, 3, 3
    )
    with_background = add_background(scores)
    np.testing.assert_allclose(with_background[0, 0, :, 0], [0.3, 1.0, 0.0], atol=1e-7)
    np.testing.assert_array_equal(with_background[..., 1:], scores)


def test_bfloat16_logits_give_float32_scores():
    logits, labels = random_inputs((2, 5, 6, 3))
    logits = logits.astype(jnp.bfloat16)
    scores = similarity_scores(logits, labels)
    assert scores.dtype == jnp.float32
    assert_close(
        scores, oracle.similarity_scores(np.asarray(logits, np.float32), np.asarray(labels))
    )


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_similarity_scores(self):
        logits, labels = random_inputs((2, 6, 9, 4))
        scores = self.variant(similarity_scores)(logits, labels)
        assert_close(scores, oracle.similarity_scores(np.asarray(logits), np.asarray(labels)))
