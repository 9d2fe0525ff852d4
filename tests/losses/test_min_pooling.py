import chex
import jax
import jax.numpy as jnp
import loss_oracles as oracle
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from loss_oracles import assert_close

from hfpl_jax.losses import min_pooling_loss


def random_inputs(shape, seed=0):
    """Maps of which a quarter and more is positive, as corrected maps are, and labels:
    one image with all classes.
    """
    rng = np.random.default_rng(seed)
    labels = (rng.random((shape[0], shape[-1])) < 0.5).astype(np.float32)
    labels[0] = 1.0
    return rng.normal(0.8, 1.0, shape).astype(np.float32), labels


value_and_slope = jax.jit(jax.value_and_grad(min_pooling_loss))


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (1, 1, 3, 2), (2, 1, 6, 3), (3, 7, 4, 5), (2, 9, 13, 20)]
)
def test_oracle(shape):
    corrected, labels = random_inputs(shape)
    expected, expected_slope = oracle.min_pooling(corrected, labels)
    value, slope = value_and_slope(corrected, labels)
    assert expected > 0
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(slope, expected_slope)


def test_lowest_quarter_of_each_image():
    """Eight pixels: two count. A negative one counts as 0, and an image without classes
    has nothing to lower.
    """
    corrected = np.array(
        [
            5.0,
            0.3,
            4.0,
            0.7,
            3.0,
            2.0,
            6.0,
            7.0,
            5.0,
            -9.0,
            4.0,
            0.7,
            3.0,
            2.0,
            6.0,
            7.0,
            *[1.0] * 8,
        ],
        np.float32,
    )
    value, slope = value_and_slope(
        corrected.reshape(3, 2, 4, 1), np.array([[1.0], [1.0], [0.0]], np.float32)
    )
    assert float(value) == pytest.approx(((0.3 + 0.7) / 2 + 0.7 / 2 + 0.0) / 3)
    assert np.flatnonzero(slope).tolist() == [1, 3, 11]
    np.testing.assert_allclose(np.asarray(slope).ravel()[[1, 3, 11]], 1 / 6, rtol=1e-6)


def test_only_classes_of_the_image_count():
    corrected = np.stack([np.full((4, 4), 0.25), np.full((4, 4), 8.0)], axis=-1)[None].astype(
        np.float32
    )
    value, slope = value_and_slope(corrected, np.array([[1, 0]], np.float32))
    assert float(value) == pytest.approx(0.25)
    assert not slope[..., 1].any()


@pytest.mark.parametrize("level", [-80.0, 0.0, 80.0])
def test_flat_maps_have_finite_gradients(level):
    labels = np.array([[1.0, 1.0], [0.0, 0.0]], np.float32)
    value, slope = value_and_slope(jnp.full((2, 4, 5, 2), level), labels)
    assert float(value) == max(level, 0.0) / 2
    assert np.isfinite(slope).all()
    assert float(slope.sum()) == pytest.approx(0.5 if level > 0 else 0.0)


def test_bfloat16_and_float64():
    corrected, labels = random_inputs((2, 20, 30, 4))
    rounded = jnp.asarray(corrected, jnp.bfloat16)
    value, slope = value_and_slope(rounded, labels)
    assert (value.dtype, slope.dtype) == (jnp.float32, jnp.bfloat16)
    assert float(value) == pytest.approx(
        oracle.min_pooling(np.asarray(rounded, np.float32), labels)[0], rel=1e-5
    )
    with jax.enable_x64(True):
        double = min_pooling_loss(
            jnp.asarray(corrected, jnp.float64), jnp.asarray(labels, jnp.float64)
        )
        assert float(double) == pytest.approx(oracle.min_pooling(corrected, labels)[0], rel=1e-12)


def test_labels_of_other_classes_are_refused():
    corrected, labels = random_inputs((2, 4, 5, 3))
    with pytest.raises(TypeCheckError, match="labels"):
        min_pooling_loss(corrected, labels[:, 1:])


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_value_and_gradient(self):
        corrected, labels = random_inputs((2, 6, 9, 4))
        value, slope = self.variant(jax.value_and_grad(min_pooling_loss))(
            jnp.asarray(corrected), jnp.asarray(labels)
        )
        expected, expected_slope = oracle.min_pooling(corrected, labels)
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert_close(slope, expected_slope)
