import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.losses.balanced_cross_entropy import balanced_cross_entropy


def oracle(logits, labels):
    """Float64, one region after the other."""
    by_class = {}
    for z, label in zip(
        np.asarray(logits, np.float64).reshape(-1, logits.shape[-1]), labels.ravel(), strict=True
    ):
        if label != 255:
            loss = np.log(np.exp(z - z.max()).sum()) + z.max() - z[label]
            by_class.setdefault(int(label), []).append(loss)
    return float(np.mean([np.mean(each) for each in by_class.values()])) if by_class else 0.0


@pytest.mark.parametrize("seed", range(3))
def test_oracle(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (3, 9, 5)).astype(np.float32)
    labels = rng.choice([0, 0, 0, 1, 2, 3, 255], (3, 9)).astype(np.uint8)
    value = balanced_cross_entropy(logits, labels)
    assert float(value) == pytest.approx(oracle(logits, labels), rel=1e-5)


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    logits = jnp.zeros((1, 10, 2)).at[0, 0].set(jnp.array([3.0, 0.0]))
    labels = np.array([[1, *[0] * 9]], np.uint8)
    expected = 0.5 * (np.log1p(np.exp(3.0)) + np.log(2.0))
    assert float(balanced_cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-6)


def test_gradient():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (1, 6, 3)).astype(np.float32)
    labels = np.array([[0, 1, 255, 1, 1, 255]], np.uint8)
    slope = jax.grad(balanced_cross_entropy)(jnp.asarray(logits), labels)
    weights = np.array([1 / 2, 1 / 6, 0, 1 / 6, 1 / 6, 0])[None, :, None]
    chosen = np.eye(3)[np.where(labels == 255, 0, labels)]
    expected = (np.asarray(jax.nn.softmax(logits)) - chosen) * weights
    np.testing.assert_allclose(slope, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("label", [255, 0])
def test_finite_at_the_edges(scale, label):
    logits = scale * jnp.ones((1, 4, 3)).at[..., 0].set(-1.0)
    labels = np.full((1, 4), label, np.uint8)
    value, slope = jax.value_and_grad(balanced_cross_entropy)(logits, labels)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert (float(value) == 0.0) == (label == 255)
