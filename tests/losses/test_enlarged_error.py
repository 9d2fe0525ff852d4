import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.losses.enlarged_error import enlarged_error, projected
from hfpl_jax.resize import interpolation_matrix


def oracle(maps, target):
    """In float64, from the maps at the size of the image."""
    rows, columns = (
        interpolation_matrix(cells, side, True).astype(np.float64)
        for cells, side in zip(maps.shape[1:3], target.shape[1:3], strict=True)
    )
    enlarged = np.einsum("Hh,bhwc,Ww->bHWc", rows, np.asarray(maps, np.float64), columns)
    return np.mean((enlarged - target) ** 2)


def learnt(target, size):
    energy = np.square(target).sum((1, 2, 3))
    return np.stack([projected(each, size) for each in target]), energy


@pytest.mark.parametrize(
    ("cells", "size"), [((3, 4), (16, 16)), ((5, 5), (33, 47)), ((1, 2), (9, 8)), ((1, 1), (1, 1))]
)
def test_equals_float64(cells, size):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, *cells, 3)).astype(np.float32)
    target = rng.random((2, *size, 3), np.float32)
    found = enlarged_error(maps, *learnt(target, cells), size)
    assert float(found) == pytest.approx(oracle(maps, target), rel=1e-5)


def test_its_gradient_is_that_of_the_error_at_the_size_of_the_image():
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(2, 3, 4, 2))
    target = rng.random((2, 20, 27, 2), np.float32)
    slope = jax.grad(enlarged_error)(
        jnp.asarray(maps, jnp.float32), *learnt(target, (3, 4)), (20, 27)
    )
    step = 1e-5 * rng.normal(size=maps.shape)
    expected = (oracle(maps + step, target) - oracle(maps - step, target)) / 2
    assert float(np.sum(np.asarray(slope, np.float64) * step)) == pytest.approx(expected, rel=1e-3)


def test_maps_that_are_the_target_have_no_error():
    """But for rounding, of terms that are as large as the energy."""
    maps = np.random.default_rng(2).random((1, 3, 3, 2), np.float32)
    rows = interpolation_matrix(3, 32, True)
    target = np.einsum("Hh,bhwc,Ww->bHWc", rows, maps, rows)
    found = float(enlarged_error(maps, *learnt(target, (3, 3)), (32, 32)))
    assert abs(found) < 1e-6 * float(np.mean(target**2))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_empty_maps_and_targets(dtype):
    zeros = np.zeros((2, 8, 8, 3), np.float32)
    maps = jnp.zeros((2, 1, 1, 3), dtype)
    value, slope = jax.value_and_grad(enlarged_error)(maps, *learnt(zeros, (1, 1)), (8, 8))
    assert value.dtype == jnp.float32
    assert float(value) == 0.0
    assert not np.asarray(slope, np.float32).any()
