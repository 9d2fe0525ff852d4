import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hfpl_jax.training.optimizer import (
    flatten,
    join,
    make_optimizer,
    poly_schedule,
    split_frozen,
)

PARAMS = {
    "backbone": {
        "stem": {"kernel": np.array([1.0, -2.0, 3.0])},
        "layer1": {"kernel": np.array([0.5]), "bias": np.array([0.25])},
    },
    "head": {"kernel": np.array([[4.0, -1.0]])},
}


def _tree(dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), PARAMS)


@pytest.mark.parametrize(
    ("momentum", "clip", "no_decay"), [(0.0, 0.0, ()), (0.9, 0.0, ("bias$",)), (0.9, 0.4, ())]
)
def test_sgd_equals_float64(momentum, clip, no_decay):
    """g = clipped grad + decay p;  v = momentum v + g;  p -= lr(t) multiplier v, by
    hand.
    """
    steps, decay, rate, power = 6, 0.1, 0.3, 0.9
    optimizer = make_optimizer(
        poly_schedule(rate, steps, power),
        momentum=momentum,
        weight_decay=decay,
        multipliers=(("^head/", 10.0), ("kernel$", 2.0)),
        no_decay=no_decay,
        clip=clip,
    )
    trainable, frozen = split_frozen(_tree(jnp.float32), ("stem/",))
    state = optimizer.init(trainable)
    expected = {
        path: np.asarray(value, np.float64)
        for path, value in flatten(PARAMS).items()
        if "stem" not in path
    }
    velocity = {path: np.zeros_like(value) for path, value in expected.items()}
    multipliers = {
        "backbone/layer1/kernel": 2.0,
        "backbone/layer1/bias": 1.0,
        "head/kernel": 10.0,
    }  # the first pattern that is found
    rng = np.random.default_rng(0)
    for step in range(steps):
        gradients = {path: rng.normal(size=value.shape) for path, value in expected.items()}
        updates, state = optimizer.update(
            {path: jnp.asarray(g, jnp.float32) for path, g in gradients.items()}, state, trainable
        )
        trainable = optax.apply_updates(trainable, updates)
        norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients.values()))
        shorter = clip / norm if clip and norm > clip else 1.0
        assert (shorter < 1.0) == bool(clip)  # or the test would not see it
        for path, value in expected.items():
            decayed = 0.0 if no_decay and path.endswith("bias") else decay
            velocity[path] = momentum * velocity[path] + shorter * gradients[path] + decayed * value
            expected[path] = (
                value - rate * (1 - step / steps) ** power * multipliers[path] * velocity[path]
            )
    assert trainable.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_allclose(trainable[path], value, rtol=1e-5, atol=1e-6, err_msg=path)
    np.testing.assert_array_equal(
        join(trainable, frozen)["backbone"]["stem"]["kernel"], PARAMS["backbone"]["stem"]["kernel"]
    )


def test_poly_schedule():
    schedule = poly_schedule(0.5, 4, 0.9)
    np.testing.assert_allclose(
        [schedule(step) for step in range(6)],
        [0.5 * (1 - min(step, 4) / 4) ** 0.9 for step in range(6)],
        rtol=1e-6,
    )


def test_join_is_the_inverse_of_split():
    params = _tree(jnp.float32)
    trainable, frozen = split_frozen(params, ("^backbone/layer1/", "bias$"))
    assert sorted(frozen) == ["backbone/layer1/bias", "backbone/layer1/kernel"]
    assert sorted(trainable) == ["backbone/stem/kernel", "head/kernel"]
    assert jax.tree.structure(join(trainable, frozen)) == jax.tree.structure(params)


def test_no_pattern_freezes_nothing():
    trainable, frozen = split_frozen(_tree(jnp.float32), ())
    assert len(trainable) == 4
    assert not frozen
