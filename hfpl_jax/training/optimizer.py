"""The optimizers by name, and parameters that are grouped, or frozen, by their path in
the network. A new optimizer is a class here and a line in the table.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import optax
from flax import traverse_util

from hfpl_jax.section import Section, Switch, value_of
from hfpl_jax.setting import above, from_to_below, setting

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


@dataclasses.dataclass(frozen=True)
class Optimizer(Section):
    """Base of the optimizers, whose fields are settings beside those of a training."""

    def direction(self, decay: optax.GradientTransformation) -> optax.GradientTransformation:
        """From gradients to the direction of a step, which `make_optimizer` scales;
        `decay` adds the decayed parameters to what it is handed.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Sgd(Optimizer):
    """SGD with coupled L2 decay.

    g <- g + decay * p;   v <- momentum * v + g
    direction v, with Nesterov's momentum g + momentum * v
    """

    path: ClassVar[str] = ".sgd"
    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            ("*.sgd.nesterov",),
            lambda config, stage: value_of(config, stage).sgd.momentum > 0,
            "a momentum above 0",
        ),
    )

    momentum: float = setting(0.0, "of SGD", from_to_below(0, 1))
    nesterov: bool = setting(False, "whether the momentum is Nesterov's")

    def direction(self, decay: optax.GradientTransformation) -> optax.GradientTransformation:
        if not self.momentum:
            return decay
        return optax.chain(decay, optax.trace(self.momentum, nesterov=self.nesterov))


@dataclasses.dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled decay.

    m <- beta1 * m + (1 - beta1) * g;   v <- beta2 * v + (1 - beta2) * g^2
    direction m' / (sqrt(v') + epsilon) + decay * p, where m' = m / (1 - beta1^t) and
    v' = v / (1 - beta2^t) in step t, counted from 1
    """

    path: ClassVar[str] = ".adamw"

    beta1: float = setting(0.9, "how slowly the mean of the gradients moves", from_to_below(0, 1))
    beta2: float = setting(0.999, "the same of their squares", from_to_below(0, 1))
    epsilon: float = setting(1e-8, "added to the root of the squares' mean", above(0))

    def direction(self, decay: optax.GradientTransformation) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_adam(b1=self.beta1, b2=self.beta2, eps=self.epsilon), decay
        )


OPTIMIZERS: Mapping[str, type[Optimizer]] = {"sgd": Sgd, "adamw": AdamW}
"""Of config.train.optimizer, and of the other trainings."""


def make_optimizer(
    optimizer: Optimizer,
    schedule: optax.Schedule,
    *,
    weight_decay: float,
    multipliers: Sequence[tuple[str, float]],
    no_decay: Sequence[str] = (),
    clip: float = 0.0,
) -> optax.GradientTransformation:
    """The steps of an `optimizer`:

    g <- grad * min(1, clip / |grad|), where a `clip` is given
    p <- p - schedule(t) * multiplier * direction(g, p)

    The multiplier is that of the first pattern found in a parameter's path. It holds
    for all of the direction, the decoupled decay of AdamW too, as a learning rate of
    its own does in torch's groups of parameters. Parameters in whose path a pattern of
    `no_decay` is found are not decayed.
    """

    def decayed(params: Flat) -> dict[str, bool]:
        return {path: not any(re.search(pattern, path) for pattern in no_decay) for path in params}

    def scale_by_group(updates: Flat, params: Flat | None = None) -> Flat:
        def multiplier(path: str) -> float:
            return next((value for pattern, value in multipliers if re.search(pattern, path)), 1.0)

        return {path: multiplier(path) * update for path, update in updates.items()}

    return optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        optimizer.direction(optax.add_decayed_weights(weight_decay, mask=decayed)),
        optax.stateless(scale_by_group),
        optax.scale_by_learning_rate(schedule),
    )


def by_module(
    optimizers: Mapping[str, optax.GradientTransformation],
) -> optax.GradientTransformation:
    """Of a parent of several networks: each module has the optimizer under its name, to
    which the paths of its parameters begin below that name.
    """

    def below(flat: Flat, name: str) -> Flat:
        start = f"{name}/"
        return {
            path.removeprefix(start): value
            for path, value in flat.items()
            if path.startswith(start)
        }

    def init(params: Flat) -> dict[str, optax.OptState]:
        return {name: each.init(below(params, name)) for name, each in optimizers.items()}

    def update(gradients: Flat, state: dict, params: Flat) -> tuple[Flat, dict]:
        updates: Flat = {}
        after = {}
        for name, each in optimizers.items():
            made, after[name] = each.update(
                below(gradients, name), state[name], below(params, name)
            )
            updates |= {f"{name}/{path}": value for path, value in made.items()}
        return updates, after

    return optax.GradientTransformation(init, update)


def steps_taken(opt_state: optax.OptState) -> jax.Array:
    """How many steps a state of `make_optimizer`, or of several, has taken, skipped ones
    left out: the t of its schedule.
    """
    if isinstance(opt_state, dict):
        return steps_taken(next(iter(opt_state.values())))
    return opt_state[-1].count
