"""The mean of the largest values, against a sort."""

import chex
import jax
import numpy as np
import pytest

from hfpl_jax.losses.largest import mean_of_largest

RANDOM = np.random.default_rng(0)
ROWS = {
    "mixed signs": RANDOM.standard_normal((3, 1000)),
    "all negative": -RANDOM.random((2, 257)) - 1.0,
    "mostly zero": RANDOM.random((2, 400)) * (RANDOM.random((2, 400)) < 0.1),
    "extremes": np.array([[3e38, 1e-40, -1e-40, 0.0, -0.0, 1.0, -7.0]]),
}


def by_sorting(values: np.ndarray, count: int) -> np.ndarray:
    return np.sort(values.astype(np.float64), axis=1)[:, -count:].mean(axis=1)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_value(name, share):
    values = ROWS[name].astype(np.float32)
    count = max(1, int(share * values.shape[1]))
    np.testing.assert_allclose(
        mean_of_largest(values, count), by_sorting(values, count), rtol=1e-5, atol=1e-6
    )


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_gradient_goes_to_the_largest_alone(self):
        values = ROWS["mixed signs"].astype(np.float32)
        gradient = self.variant(jax.grad(lambda values: mean_of_largest(values, 10).sum()))(values)
        tenth = np.sort(values, axis=1)[:, -10, None]
        np.testing.assert_allclose(gradient, np.where(values >= tenth, 0.1, 0.0), rtol=1e-6)


def test_equal_values_share_what_is_left():
    gradient = jax.grad(lambda values: mean_of_largest(values, 3).sum())(
        np.array([[2.0, 1.0, 1.0, 1.0, 1.0, 0.0]], np.float32)
    )
    np.testing.assert_allclose(gradient, [[1 / 3, 1 / 6, 1 / 6, 1 / 6, 1 / 6, 0.0]], rtol=1e-6)
