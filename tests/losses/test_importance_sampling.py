import chex
import jax
import jax.numpy as jnp
import loss_oracles as oracle
import numpy as np
import pytest
import scipy.stats
from jax.sharding import NamedSharding, PartitionSpec
from loss_oracles import assert_close

from hfpl_jax.losses import (
    expected_importance_sampling_loss,
    gap_loss,
    importance_sampling_loss,
    sample_pixels,
    sampled_loss,
    sampling_weights,
)


def random_inputs(shape, scale=2.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((shape[0], shape[-1])) < 0.4).astype(np.float32)
    return jnp.asarray(rng.normal(0, scale, shape), jnp.float32), jnp.asarray(labels)


SHAPES = [(1, 1, 1, 1), (2, 1, 6, 3), (3, 7, 4, 5), (2, 9, 13, 20)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_samples", [1, 10])
def test_sampled_loss_oracle(shape, num_samples):
    logits, labels = random_inputs(shape)
    pixels = np.random.default_rng(1).integers(
        0, shape[1] * shape[2], (shape[0], shape[3], num_samples), np.int32
    )
    expected, slope = oracle.sampled(np.asarray(logits), np.asarray(labels), pixels)
    value, gradient = jax.jit(jax.value_and_grad(sampled_loss))(logits, labels, jnp.asarray(pixels))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(gradient, slope)


@pytest.mark.parametrize("shape", SHAPES)
def test_expected_loss_oracle(shape):
    logits, labels = random_inputs(shape)
    expected, slope = oracle.expected_sampled(np.asarray(logits), np.asarray(labels))
    value, gradient = jax.jit(jax.value_and_grad(expected_importance_sampling_loss))(logits, labels)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(gradient, slope)  # the oracle holds the weights constant


@pytest.mark.parametrize("logit", [80.0, -80.0, 0.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_certain_and_equal_logits(logit, label):
    logits, labels = jnp.full((2, 3, 4, 5), logit), jnp.full((2, 5), label)
    for loss in (
        expected_importance_sampling_loss,
        lambda z, y: importance_sampling_loss(jax.random.key(0), z, y),
    ):
        value, gradient = jax.jit(jax.value_and_grad(loss))(logits, labels)
        assert float(value) == pytest.approx(
            float(oracle.soft_margin(logit, label)), rel=1e-5, abs=1e-6
        )
        assert np.isfinite(gradient).all()
        assert float(gradient.sum()) == pytest.approx(
            float(oracle.sigmoid(logit)) - label, rel=1e-5, abs=1e-6
        )


def test_loss_is_the_sampled_loss_at_the_sampled_pixels():
    logits, labels = random_inputs((2, 5, 6, 3))
    key = jax.random.key(7)
    pixels = sample_pixels(key, logits, num_samples=10)
    chex.assert_shape(pixels, (2, 3, 10))
    value, gradient = jax.jit(jax.value_and_grad(importance_sampling_loss, argnums=1))(
        key, logits, labels
    )
    expected, slope = oracle.sampled(np.asarray(logits), np.asarray(labels), np.asarray(pixels))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(gradient, slope)
    assert float(importance_sampling_loss(jax.random.key(8), logits, labels)) != float(value)
    assert float(importance_sampling_loss(key, logits, labels, num_samples=1)) != float(value)


def test_no_gradient_through_the_weights():
    logits, _ = random_inputs((2, 5, 6, 3))
    assert not np.any(jax.grad(lambda z: jnp.sum(sampling_weights(z) ** 2))(logits))


def test_bfloat16_logits_are_accumulated_in_float32():
    logits, labels = random_inputs((2, 5, 6, 3))
    logits = logits.astype(jnp.bfloat16)
    pixels = np.random.default_rng(0).integers(
        0, 4, (2, 3, 200)
    )  # every sampled pixel some fifty times
    expected, slope = oracle.sampled(np.asarray(logits, np.float32), np.asarray(labels), pixels)
    value, gradient = jax.jit(jax.value_and_grad(sampled_loss))(logits, labels, jnp.asarray(pixels))
    assert value.dtype == jnp.float32
    assert gradient.dtype == jnp.bfloat16
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert_close(
        gradient.astype(jnp.float32), slope, 2**-8
    )  # half a unit in the last place of bfloat16
    assert (
        sampling_weights(logits).dtype
        == expected_importance_sampling_loss(logits, labels).dtype
        == jnp.float32
    )


def test_float64_is_float64_throughout():
    logits, labels = (np.asarray(array, np.float64) for array in random_inputs((2, 5, 6, 3)))
    with jax.enable_x64(True):
        value, slope = jax.value_and_grad(expected_importance_sampling_loss)(
            jnp.asarray(logits), jnp.asarray(labels)
        )
        expected, gradient = oracle.expected_sampled(logits, labels)
        assert float(value) == pytest.approx(expected, rel=1e-12)
        assert_close(slope, gradient, 1e-12)


def test_sampled_distribution():
    logits, _ = random_inputs((2, 5, 7, 3))
    draws = np.asarray(
        jax.jit(sample_pixels, static_argnames="num_samples")(
            jax.random.key(0), logits, num_samples=100_000
        )
    )
    probabilities = oracle.sampling_distribution(np.asarray(logits))
    for image in range(2):
        for label in range(3):
            counts = np.bincount(draws[image, label], minlength=35)
            expected = 100_000 * probabilities[image, label]
            assert expected.min() > 5  # what the test asks for
            assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize("shape", [*SHAPES, (1, 30, 31, 2)])
def test_a_draw_inverts_the_cumulative_sum_over_all_pixels(shape):
    logits, _ = random_inputs(shape)
    b, _, _, c = shape
    key = jax.random.key(3)
    draws = np.asarray(sample_pixels(key, logits, num_samples=500))
    uniform = np.asarray(jax.random.uniform(key, (b, c, 500)), np.float64)
    cumulative = np.cumsum(oracle.sampling_distribution(np.asarray(logits)), axis=-1)
    expected = (cumulative[:, :, None] <= uniform[..., None]).sum(-1)
    border = np.abs(cumulative[:, :, None] - uniform[..., None]).min(-1) < 1e-6
    assert border.mean() < 0.01
    np.testing.assert_array_equal(draws[~border], expected[~border])


def test_draws_of_classes_images_and_samples_are_independent():
    logits, _ = random_inputs((2, 2, 3, 2))
    draws = np.asarray(sample_pixels(jax.random.key(0), logits, num_samples=100_000))
    pairs = {
        "classes": (draws[0, 0], draws[0, 1]),
        "images": (draws[0, 0], draws[1, 0]),
        "samples": (draws[0, 0, ::2], draws[0, 0, 1::2]),
    }
    for name, (first, second) in pairs.items():
        table = np.zeros((6, 6))
        np.add.at(table, (first, second), 1)
        assert scipy.stats.chi2_contingency(table).pvalue > 1e-3, name


def test_a_class_certain_to_be_absent_is_sampled_everywhere():
    draws = np.asarray(
        sample_pixels(jax.random.key(0), jnp.full((1, 2, 5, 1), -80.0), num_samples=10_000)
    )
    assert scipy.stats.chisquare(np.bincount(draws.ravel(), minlength=10)).pvalue > 1e-3


def test_a_peak_is_drawn_wherever_it_is():
    """Also the last pixel, where rounding could lead one too far, and the first."""
    logits = (
        jnp.full((1, 112, 112, 3), -80.0)
        .at[0, 0, 0, 0]
        .set(80.0)
        .at[0, 50, 60, 1]
        .set(80.0)
        .at[0, 111, 111, 2]
        .set(80.0)
    )
    draws = np.asarray(sample_pixels(jax.random.key(0), logits, num_samples=20_000))[0]
    share = 1 / (1 + 1e-5 * 112 * 112)
    for label, pixel in enumerate((0, 50 * 112 + 60, 111 * 112 + 111)):
        assert np.mean(draws[label] == pixel) == pytest.approx(
            share, abs=5 * np.sqrt(share * (1 - share) / 20_000)
        )
    assert draws.min() >= 0
    assert draws.max() < 112 * 112


@pytest.mark.slow
def test_mean_over_keys_approaches_the_expected_loss():
    logits, labels = random_inputs((2, 4, 5, 3))
    keys = jax.random.split(jax.random.key(0), 4000)
    values, gradients = jax.jit(
        jax.vmap(jax.value_and_grad(importance_sampling_loss, argnums=1), (0, None, None))
    )(keys, logits, labels)
    expected, slope = jax.value_and_grad(expected_importance_sampling_loss)(logits, labels)
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(len(keys))
    standard = (gradients.mean(0) - slope) / (gradients.std(0) / np.sqrt(len(keys)))
    assert np.abs(standard).max() < 5
    assert (
        0.6 < np.mean(np.square(standard)) < 1.4
    )  # as many standard errors away as chance alone makes them


def test_one_line_mix_with_average_pooling():
    logits, labels = random_inputs((2, 5, 6, 3))
    key = jax.random.key(0)
    mixed = 0.8 * gap_loss(logits, labels) + 0.2 * importance_sampling_loss(key, logits, labels)
    pixels = np.asarray(sample_pixels(key, logits, num_samples=10))
    expected = (
        0.8 * oracle.gap(logits, np.asarray(labels))[0]
        + 0.2 * oracle.sampled(np.asarray(logits), np.asarray(labels), pixels)[0]
    )
    assert float(mixed) == pytest.approx(expected, rel=1e-5)


def test_compiled_and_sharded_draws_are_the_same():
    logits, labels = random_inputs((8, 9, 7, 20))
    key = jax.random.key(3)
    expected = np.asarray(sample_pixels(key, logits, num_samples=10))
    compiled = jax.jit(sample_pixels, static_argnames="num_samples")
    np.testing.assert_array_equal(compiled(key, logits, num_samples=10), expected)
    np.testing.assert_array_equal(
        compiled(jax.random.PRNGKey(3), logits, num_samples=10), expected
    )  # a key of the old kind
    assert jax.device_count() == 8
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded, sharded_labels = (
        jax.device_put(array, NamedSharding(mesh, PartitionSpec("data")))
        for array in (logits, labels)
    )
    np.testing.assert_array_equal(compiled(key, sharded, num_samples=10), expected)
    loss = jax.jit(jax.value_and_grad(importance_sampling_loss, argnums=1))
    value, gradient = loss(key, logits, labels)
    sharded_value, sharded_gradient = loss(key, sharded, sharded_labels)
    assert float(sharded_value) == pytest.approx(float(value), rel=1e-6)
    assert_close(sharded_gradient, gradient, 1e-6)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_value_and_gradient(self):
        logits, labels = random_inputs((2, 6, 9, 4))
        key = jax.random.key(1)
        pixels = np.asarray(sample_pixels(key, logits, num_samples=10))
        expected, slope = oracle.sampled(np.asarray(logits), np.asarray(labels), pixels)
        value, gradient = self.variant(jax.value_and_grad(importance_sampling_loss, argnums=1))(
            key, logits, labels
        )
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert_close(gradient, slope)

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_expected(self):
        logits, labels = random_inputs((2, 6, 9, 4))
        value = self.variant(expected_importance_sampling_loss)(logits, labels)
        assert float(value) == pytest.approx(
            oracle.expected_sampled(np.asarray(logits), np.asarray(labels))[0], rel=1e-5
        )
