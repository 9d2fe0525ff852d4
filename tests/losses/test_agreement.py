import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.losses.agreement import agreement_loss, teaching_loss

EPSILON = 1e-10


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def entropy(p):
    return -(p * np.log(p + EPSILON)).sum(-1)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 3, (3, 2, 4, 5, 6))


def test_networks_that_disagree(logits):
    counted = np.random.default_rng(1).random((2, 4, 5)) < 0.6
    p = softmax(logits)
    expected = (entropy(p.mean(0)) - entropy(p).mean(0))[counted].mean()
    found = agreement_loss(logits.astype(np.float32), counted)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert agreement_loss(np.stack([logits[0]] * 2).astype(np.float32), counted) < 1e-6


def test_two_opposite_opinions_are_log_two_apart():
    sure = 50.0 * np.eye(2, dtype=np.float32)[:, None, None, None]
    assert agreement_loss(sure, np.ones((1, 1, 1), bool)) == pytest.approx(np.log(2), rel=1e-6)


def test_a_student_and_its_teacher(logits):
    counted = np.random.default_rng(2).random((2, 4, 5)) < 0.6
    teacher, student = softmax(logits[0]), softmax(logits[1])
    apart = (teacher * (np.log(teacher + EPSILON) - np.log(student + EPSILON))).sum(-1)
    teacher = teacher.astype(np.float32)
    found, slopes = jax.value_and_grad(teaching_loss, argnums=(0, 1))(
        logits[1].astype(np.float32), teacher, counted
    )
    np.testing.assert_allclose(found, apart[counted].mean(), rtol=1e-5)
    expected = np.where(counted[..., None], student - teacher, 0.0) / counted.sum()
    np.testing.assert_allclose(slopes[0], expected, atol=1e-6)
    assert not np.any(slopes[1])


@pytest.mark.parametrize("size", [0.0, 1e4])
def test_gradients_are_finite_of_certain_opinions_and_of_no_pixel(size):
    sure = size * jnp.eye(3)[:2, None, None, None]
    for counted in (jnp.ones((1, 1, 1), bool), jnp.zeros((1, 1, 1), bool)):
        loss, slope = jax.value_and_grad(agreement_loss)(sure, counted)
        taught, of_student = jax.value_and_grad(teaching_loss)(
            sure[0], jax.nn.softmax(sure[1]), counted
        )
        assert np.isfinite([loss, taught]).all()
        assert np.isfinite(slope).all()
        assert np.isfinite(of_student).all()
        assert counted.all() or (loss, taught) == (0.0, 0.0)
