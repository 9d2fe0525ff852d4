import chex
import jax
import jax.numpy as jnp
import loss_oracles as oracle
import numpy as np
import pytest
from loss_oracles import assert_close

from hfpl_jax.losses import gap_loss, soft_margin


def random_inputs(shape, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((shape[0], shape[-1])) < 0.4).astype(np.float32)
    return jnp.asarray(rng.normal(0.3, 2.0, shape), jnp.float32), jnp.asarray(labels)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 6, 3), (3, 7, 4, 20)])
def test_gap_loss_oracle(shape):
    logits, labels = random_inputs(shape)
    value, gradient = jax.jit(jax.value_and_grad(gap_loss))(logits, labels)
    expected, slope = oracle.gap(np.asarray(logits), np.asarray(labels))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(gradient, slope)


@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_soft_margin_element_by_element(label):
    logits = jnp.asarray([-80.0, -5.0, -1e-3, 0.0, 1e-3, 5.0, 80.0])
    labels = jnp.full_like(logits, label)
    np.testing.assert_allclose(
        soft_margin(logits, labels), oracle.soft_margin(logits, label), rtol=1e-5, atol=1e-6
    )
    gradient = jax.grad(lambda z: soft_margin(z, labels).sum())(logits)
    np.testing.assert_allclose(gradient, oracle.sigmoid(logits) - label, rtol=1e-5, atol=1e-6)


def test_bfloat16_map_is_averaged_in_float32():
    logits, labels = random_inputs((2, 64, 64, 3))
    logits = logits.astype(jnp.bfloat16)
    value, gradient = jax.jit(jax.value_and_grad(gap_loss))(logits, labels)
    expected, slope = oracle.gap(np.asarray(logits, np.float32), np.asarray(labels))
    assert value.dtype == jnp.float32
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(gradient.astype(jnp.float32), slope, 2**-8)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_value_and_gradient(self):
        logits, labels = random_inputs((2, 6, 9, 4))
        value, gradient = self.variant(jax.value_and_grad(gap_loss))(logits, labels)
        expected, slope = oracle.gap(np.asarray(logits), np.asarray(labels))
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert_close(gradient, slope)
