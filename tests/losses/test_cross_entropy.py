import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from hfpl_jax.losses.cross_entropy import segmentation_loss


def oracle(logits, labels):
    """Float64, one pixel after the other."""
    losses = []
    for z, label in zip(
        np.asarray(logits, np.float64).reshape(-1, logits.shape[-1]), labels.ravel(), strict=True
    ):
        if label != 255:
            losses.append(np.log(np.exp(z - z.max()).sum()) + z.max() - z[label])
    return float(np.mean(losses)) if losses else 0.0


class SegmentationLossTest(chex.TestCase, parameterized.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(0, 1, 2)
    def test_oracle(self, seed):
        rng = np.random.default_rng(seed)
        logits = rng.normal(0, 4, (2, 5, 7, 4)).astype(np.float32)
        labels = rng.choice([0, 1, 2, 3, 255], (2, 5, 7)).astype(np.uint8)
        assert float(self.variant(segmentation_loss)(logits, labels)) == pytest.approx(
            oracle(logits, labels), rel=1e-5
        )


def test_gradient_of_ignored_pixels_is_zero_and_of_the_others_is_softmax_minus_one_hot():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (1, 3, 4, 3)).astype(np.float32)
    labels = np.array([[[0, 1, 255, 2], [255, 255, 0, 1], [2, 2, 1, 255]]], np.uint8)
    slope = np.asarray(jax.grad(segmentation_loss)(jnp.asarray(logits), labels))
    counted = labels != 255
    expected = (
        (np.asarray(jax.nn.softmax(logits)) - np.eye(3)[np.where(counted, labels, 0)])
        * counted[..., None]
        / counted.sum()
    )
    np.testing.assert_allclose(slope, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_finite_at_the_edges(scale):
    logits = scale * jnp.ones((1, 2, 2, 3)).at[..., 0].set(-1.0)
    for labels in (np.full((1, 2, 2), 255, np.uint8), np.zeros((1, 2, 2), np.uint8)):
        value, slope = jax.value_and_grad(segmentation_loss)(logits, labels)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
    assert float(segmentation_loss(logits, np.full((1, 2, 2), 255, np.uint8))) == 0.0
