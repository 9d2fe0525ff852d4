import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hfpl_jax.training.optimizer import (
    AdamW,
    Sgd,
    by_module,
    flatten,
    join,
    make_optimizer,
    split_frozen,
    steps_taken,
)
from hfpl_jax.training.schedule import Poly

PARAMS = {
    "backbone": {
        "stem": {"kernel": np.array([1.0, -2.0, 3.0])},
        "layer1": {"kernel": np.array([0.5]), "bias": np.array([0.25])},
    },
    "head": {"kernel": np.array([[4.0, -1.0]])},
}


def _tree(dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), PARAMS)


STEPS, DECAY, RATE = 6, 0.1, 0.3
MULTIPLIERS = (("^head/", 10.0), ("kernel$", 2.0))
FACTORS = {
    "backbone/layer1/kernel": 2.0,
    "backbone/layer1/bias": 1.0,
    "head/kernel": 10.0,
}
"""The first pattern that is found; the stem is frozen."""


def steps_by_hand(direction, *, clip=0.0, no_decay=()):
    """Parameters by path after six steps on the gradients of `gradients_of`, float64.

    p -= lr(t) * multiplier * direction(path, t, clipped gradient, p, decay)
    """
    expected = {
        path: np.asarray(value, np.float64)
        for path, value in flatten(PARAMS).items()
        if "stem" not in path
    }
    for step in range(STEPS):
        gradients = gradients_of(step)
        norm = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients.values()))
        shorter = clip / norm if clip and norm > clip else 1.0
        assert (shorter < 1.0) == bool(clip)  # or the test would not see it
        for path, value in expected.items():
            decay = 0.0 if no_decay and path.endswith("bias") else DECAY
            moved = direction(path, step, shorter * gradients[path], value, decay)
            expected[path] = value - RATE * (1 - step / STEPS) ** 0.9 * FACTORS[path] * moved
    return expected


def gradients_of(step):
    rng = np.random.default_rng(step)
    return {
        path: rng.normal(size=value.shape)
        for path, value in flatten(PARAMS).items()
        if "stem" not in path
    }


def close_to_hand(optimizer, expected, **options):
    """What `optimizer` makes of the same gradients, with the stem frozen."""
    schedule = Poly(power=0.9).of_steps(RATE, STEPS)
    made = make_optimizer(
        optimizer, schedule, weight_decay=DECAY, multipliers=MULTIPLIERS, **options
    )
    trainable, frozen = split_frozen(_tree(jnp.float32), ("stem/",))
    state = made.init(trainable)
    for step in range(STEPS):
        assert int(steps_taken(state)) == step
        gradients = {path: jnp.asarray(g, jnp.float32) for path, g in gradients_of(step).items()}
        updates, state = made.update(gradients, state, trainable)
        trainable = optax.apply_updates(trainable, updates)
    assert trainable.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_allclose(trainable[path], value, rtol=1e-5, atol=1e-6, err_msg=path)
    np.testing.assert_array_equal(
        join(trainable, frozen)["backbone"]["stem"]["kernel"], PARAMS["backbone"]["stem"]["kernel"]
    )


@pytest.mark.parametrize(
    ("momentum", "nesterov", "clip", "no_decay"),
    [
        (0.0, False, 0.0, ()),
        (0.9, False, 0.0, ("bias$",)),
        (0.9, False, 0.4, ()),
        (0.9, True, 0.4, ("bias$",)),
    ],
)
def test_sgd_equals_float64(momentum, nesterov, clip, no_decay):
    """g = clipped grad + decay p;  v = momentum v + g;  then v, or g + momentum v."""
    velocity = dict.fromkeys(FACTORS, 0.0)

    def direction(path, step, gradient, value, decay):
        decayed = gradient + decay * value
        velocity[path] = momentum * velocity[path] + decayed
        return decayed + momentum * velocity[path] if nesterov else velocity[path]

    expected = steps_by_hand(direction, clip=clip, no_decay=no_decay)
    optimizer = Sgd(momentum=momentum, nesterov=nesterov)
    close_to_hand(optimizer, expected, clip=clip, no_decay=no_decay)


@pytest.mark.parametrize(("clip", "no_decay"), [(0.0, ()), (0.4, ("bias$",))])
def test_adamw_equals_float64(clip, no_decay):
    """The moments are of the clipped gradient alone; the decay joins the direction after
    them, and is multiplied by the layer's multiplier as the rest of it is.
    """
    beta1, beta2, epsilon = 0.8, 0.95, 1e-3
    mean, square = dict.fromkeys(FACTORS, 0.0), dict.fromkeys(FACTORS, 0.0)

    def direction(path, step, gradient, value, decay):
        mean[path] = beta1 * mean[path] + (1 - beta1) * gradient
        square[path] = beta2 * square[path] + (1 - beta2) * gradient**2
        of_mean = mean[path] / (1 - beta1 ** (step + 1))
        of_square = square[path] / (1 - beta2 ** (step + 1))
        return of_mean / (np.sqrt(of_square) + epsilon) + decay * value

    expected = steps_by_hand(direction, clip=clip, no_decay=no_decay)
    optimizer = AdamW(beta1=beta1, beta2=beta2, epsilon=epsilon)
    close_to_hand(optimizer, expected, clip=clip, no_decay=no_decay)


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


def test_each_module_of_a_parent_has_its_optimizer():
    """With patterns of paths below its name, and its own length of gradients."""
    params = {f"{name}/head/kernel": jnp.ones(2) for name in ("first", "second")}
    gradients = {"first/head/kernel": jnp.array([3.0, 4.0]), "second/head/kernel": jnp.ones(2)}
    one = make_optimizer(
        Sgd(), lambda _: 0.1, weight_decay=0.0, multipliers=(("^head/", 2.0),), clip=1.0
    )
    other = make_optimizer(AdamW(), lambda _: 0.5, weight_decay=0.0, multipliers=())
    made = by_module({"second": other, "first": one})
    state = made.init(params)
    for step in range(2):
        assert int(steps_taken(state)) == step
        updates, state = made.update(gradients, state, params)
        np.testing.assert_allclose(updates["first/head/kernel"], [-0.12, -0.16], rtol=1e-5)
        np.testing.assert_allclose(updates["second/head/kernel"], [-0.5, -0.5], rtol=1e-4)
