"""The contrast of class tokens beside NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.losses.token_contrast import token_contrast


def oracle(tokens, labels):
    unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    alike = np.einsum("nbck,nbdk->nbcd", unit, unit)
    own = np.log(np.exp(alike).sum(-1)) - np.einsum("nbcc->nbc", alike)
    each = (own.mean(0) * labels).sum(1) / (labels.sum(1) + 1e-8)
    return each.mean()


def test_each_present_class_against_all():
    tokens = np.random.default_rng(0).normal(size=(3, 2, 4, 6))
    labels = np.array([[1, 0, 1, 0], [0, 0, 0, 0]])
    found = token_contrast(tokens.astype(np.float32), labels)
    assert float(found) == pytest.approx(oracle(tokens, labels), rel=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_finite_where_tokens_are_zero_or_the_same(dtype):
    for tokens in (jnp.zeros((2, 1, 3, 4), dtype), jnp.ones((2, 1, 3, 4), dtype)):
        value, slope = jax.value_and_grad(token_contrast)(tokens, jnp.ones((1, 3)))
        assert float(value) == pytest.approx(np.log(3), rel=1e-2)
        assert np.isfinite(np.asarray(slope, np.float32)).all()
