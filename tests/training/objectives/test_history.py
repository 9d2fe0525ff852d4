import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.training.objectives.history import empty, exchanged

SHAPES = {"made": jax.ShapeDtypeStruct((2,), jnp.float32), "valid": jax.ShapeDtypeStruct((), bool)}


def batch(start, rows):
    """Image i holds the number i, and i is odd."""
    numbers = jnp.arange(start, start + rows)
    return {"made": jnp.stack([numbers, numbers], 1) * 1.0, "valid": numbers % 2 == 1}


def numbers(arrays):
    found = np.asarray(arrays["made"])[:, 0].astype(int)
    np.testing.assert_array_equal(arrays["valid"], found % 2 == 1)  # what belongs together stays so
    return found.tolist()


@pytest.mark.parametrize(("size", "rows"), [(10, 4), (4, 4), (3, 8), (1, 1)])
def test_images_change_places_with_earlier_ones(size, rows):
    history, step = empty(size, SHAPES), jax.jit(exchanged)
    kept, earlier, swaps, chances = [], 0, 0, 0
    for index in range(30):
        made = batch(1 + index * rows, rows)
        seen, history = step(history, made, jax.random.key(index))
        after = numbers({name: leaf[: history.filled] for name, leaf in history.kept.items()})
        if len(kept) < size:  # not full before: they are kept as far as there is room
            assert numbers(seen) == numbers(made)
            assert after == (kept + numbers(made))[:size]
        else:
            assert sorted(after + numbers(seen)) == sorted(kept + numbers(made))
            swaps += sum(number not in numbers(made) for number in numbers(seen))
            chances += min(rows, size)
        kept, earlier = after, earlier + rows
    assert len(kept) == size
    assert 0.3 * chances < swaps < 0.7 * chances
