import jax
import numpy as np
import pytest

from hfpl_jax.losses.translation import absolute_error, judged_as, squared_error


def maps(channels, seed):
    return np.random.default_rng(seed).normal(size=(2, 3, 4, channels)).astype(np.float32)


@pytest.fixture
def counted():
    return np.random.default_rng(9).random((2, 3, 4)) < 0.5


def test_the_terms_are_means_over_what_is_counted(counted):
    a, b, scores = maps(3, 0), maps(3, 1), maps(1, 2)
    pairs = [
        (absolute_error(a, b, counted), np.abs(a - b)[counted].mean()),
        (squared_error(a, b, counted), ((a - b) ** 2)[counted].mean()),
        (judged_as(scores, 1.0, counted), ((scores - 1) ** 2)[counted].mean()),
        (judged_as(scores, 0.0, counted), (scores**2)[counted].mean()),
    ]
    for found, expected in pairs:
        assert found == pytest.approx(expected, rel=1e-5)


def test_of_no_pixel_they_are_0_with_no_gradient():
    nowhere = np.zeros((2, 3, 4), bool)
    for loss in (
        lambda x: absolute_error(x, x, nowhere),
        lambda x: squared_error(x, 2 * x, nowhere),
        lambda x: judged_as(x[..., :1], 1.0, nowhere),
    ):
        value, slope = jax.value_and_grad(loss)(maps(3, 0))
        assert value == 0.0
        assert not np.any(slope)
