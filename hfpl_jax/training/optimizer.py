"""SGD with a polynomial schedule; parameters are grouped, or frozen, by their path in
the network."""

import re
from collections.abc import Mapping, Sequence

import jax
import optax
from flax import traverse_util

Flat = dict[str, jax.Array]
"""Parameters by path, for instance "backbone/layer1/block1/conv1/kernel"."""


def flatten(params: Mapping) -> Flat:
    return traverse_util.flatten_dict(params, sep="/")


def split_frozen(params: Mapping, freeze: Sequence[str]) -> tuple[Flat, Flat]:
    """(trainable, frozen) parameters by path: a parameter is frozen if a pattern of
    `freeze` is found in its path.

    Gradients are taken of the trainable ones alone, so the compiler drops the backward
    pass below the lowest of them.
    """
    flat = flatten(params)
    frozen = {
        path: value
        for path, value in flat.items()
        if any(re.search(pattern, path) for pattern in freeze)
    }
    trainable = {path: value for path, value in flat.items() if path not in frozen}
    return trainable, frozen


def join(trainable: Flat, frozen: Flat) -> dict:
    """The parameter tree again."""
    return traverse_util.unflatten_dict({**trainable, **frozen}, sep="/")


def poly_schedule(learning_rate: float, steps: int, power: float) -> optax.Schedule:
    """learning_rate * (1 - t / T)^power, 0 from step T on."""
    return optax.polynomial_schedule(
        init_value=learning_rate, end_value=0.0, power=power, transition_steps=steps
    )


def make_optimizer(
    schedule: optax.Schedule,
    *,
    momentum: float,
    weight_decay: float,
    multipliers: Sequence[tuple[str, float]],
    no_decay: Sequence[str] = (),
    clip: float = 0.0,
) -> optax.GradientTransformation:
    """Coupled L2 decay, momentum, then the schedule times the multiplier of the first
    pattern found in a parameter's path.

    grad <- grad * min(1, clip / |grad|), where a `clip` is given
    g <- grad + decay * p;   v <- momentum * v + g
    p <- p - schedule(t) * multiplier * v

    Parameters in whose path a pattern of `no_decay` is found are not decayed.
    """

    def decayed(params: Flat) -> dict[str, bool]:
        return {path: not any(re.search(pattern, path) for pattern in no_decay) for path in params}

    def scale_by_group(updates: Flat, params: Flat | None = None) -> Flat:
        def multiplier(path: str) -> float:
            return next((value for pattern, value in multipliers if re.search(pattern, path)), 1.0)

        return {path: multiplier(path) * update for path, update in updates.items()}

    return optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        optax.add_decayed_weights(weight_decay, mask=decayed),
        optax.trace(momentum) if momentum else optax.identity(),
        optax.stateless(scale_by_group),
        optax.scale_by_learning_rate(schedule),
    )
