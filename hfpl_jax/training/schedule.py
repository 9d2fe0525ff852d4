"""The learning rate over the steps of a training: the schedules by name. A new one is a
class here and a line in the table.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import optax

from hfpl_jax.section import Section
from hfpl_jax.setting import above_up_to, at_least, from_to_below, setting, some, within


@dataclasses.dataclass(frozen=True)
class Schedule(Section):
    """Base of the schedules, whose fields are settings beside those of a training."""

    def of_steps(self, learning_rate: float, steps: int) -> optax.Schedule:
        """The learning rate of step t = 0, 1, ..., steps - 1."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Poly(Schedule):
    """A power of the share of steps that remain.

    learning_rate * (1 - t / T)^power, 0 from step T on
    """

    path: ClassVar[str] = ".poly"

    power: float = setting(0.9, "of the share of steps that remain", at_least(0))

    def of_steps(self, learning_rate: float, steps: int) -> optax.Schedule:
        return optax.polynomial_schedule(
            init_value=learning_rate, end_value=0.0, power=self.power, transition_steps=steps
        )


@dataclasses.dataclass(frozen=True)
class Cosine(Schedule):
    """Linear warm-up, then half a cosine.

    Of T steps the first W = round(warm_up * T) rise:

      t < W:   learning_rate * (start + (1 - start) * t / W)
      t >= W:  learning_rate * (end + (1 - end) / 2 * (1 + cos(pi * (t - W) / (T - W))))
    """

    path: ClassVar[str] = ".cosine"

    warm_up: float = setting(
        0.1, "share of the steps in which the learning rate rises", from_to_below(0, 1)
    )
    start: float = setting(0.01, "share of the learning rate in the first step", within(0, 1))
    end: float = setting(0.01, "share of the learning rate after the last step", within(0, 1))

    def of_steps(self, learning_rate: float, steps: int) -> optax.Schedule:
        rising = min(round(self.warm_up * steps), steps - 1)
        falling = steps - rising

        def rate(step):
            risen = self.start + (1.0 - self.start) * step / max(rising, 1)
            angle = jnp.pi * jnp.clip((step - rising) / falling, 0.0, 1.0)
            fallen = self.end + (1.0 - self.end) * 0.5 * (1.0 + jnp.cos(angle))
            return learning_rate * jnp.where(step < rising, risen, fallen)

        return rate


@dataclasses.dataclass(frozen=True)
class Step(Schedule):
    """A factor at each of some shares of the T steps.

    learning_rate * factor^n, n of the shares being at most t / T
    """

    path: ClassVar[str] = ".step"

    shares: tuple[float, ...] = setting(
        (4 / 15, 9 / 15), "of the steps, after which the factor is applied", some(within(0, 1))
    )
    factor: float = setting(0.1, "of the learning rate", above_up_to(0, 1))

    def of_steps(self, learning_rate: float, steps: int) -> optax.Schedule:
        places = jnp.asarray([round(share * steps) for share in self.shares], jnp.int32)
        return lambda step: learning_rate * self.factor ** jnp.sum(step >= places)


@dataclasses.dataclass(frozen=True)
class Stairs(Schedule):
    """Warm-up and cosine in stairs of an epoch, one epoch late: timm's scheduler, handed
    the number of the epoch that is finished.

    Of E epochs, in the one numbered e = 0, 1, ..., with t = max(e - 1, 0):

      t < W:   learning_rate * (start + (1 - start) * t / W)
      t >= W:  learning_rate * (end + (1 - end) / 2 * (1 + cos(pi * t / E)))
    """

    path: ClassVar[str] = ".stairs"

    epochs: int = setting(60, "stairs of the training, E", at_least(1))
    warm_up: int = setting(5, "of them rise, W", at_least(0))
    start: float = setting(0.016, "share of the learning rate in the first", within(0, 1))
    end: float = setting(0.16, "share of the learning rate after the last", within(0, 1))

    def of_steps(self, learning_rate: float, steps: int) -> optax.Schedule:
        def rate(step):
            late = jnp.maximum(step * self.epochs // steps - 1, 0)
            risen = self.start + (1.0 - self.start) * late / max(self.warm_up, 1)
            fallen = self.end + (1.0 - self.end) * 0.5 * (
                1.0 + jnp.cos(jnp.pi * late / self.epochs)
            )
            return learning_rate * jnp.where(late < self.warm_up, risen, fallen)

        return rate


SCHEDULES: Mapping[str, type[Schedule]] = {
    "poly": Poly,
    "cosine": Cosine,
    "step": Step,
    "stairs": Stairs,
}
"""Of config.train.schedule, and of the other trainings."""
