"""When a training diverges: a gradient far longer than the ones before it, and
a loss that leaps and does not come back.

A gradient that leaps is seen on the device, and its step is skipped before it can do
harm. A loss that leaps is seen in the rows of the log, and only said.
"""

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array, Bool, Float, typed

WINDOW = 64
"""Steps whose gradient norms the running median is of."""

_LEVEL_ROWS, _LEAP_ROWS, _NOISE_ROWS = 5, 3, 41


@typed
def gradient_leaps(
    norm: Float[Array, ""], norms: Float[Array, "n"], factor: float | int
) -> Bool[jax.Array, ""]:
    """Whether a gradient is more than `factor` times as long as the median of the last.

    Args:
      norm: of this step's gradient.
      norms: of the last steps, below 0 where there was none yet. Before half of them
        are there, nothing leaps: the first gradients of a training are its longest.
    """
    known = norms >= 0.0
    median = jnp.nanmedian(jnp.where(known, norms, jnp.nan))
    return (jnp.sum(known) >= norms.size // 2) & (norm > factor * median)


class LossWatch:
    """Whether a loss has leapt up and not come back, from the rows of metrics.jsonl,
    which are means over some steps each.

    Its level is the lowest median of five rows in succession. A leap is three rows in
    succession above the level by more than a margin: the largest of half of what the
    loss had fallen since the first five rows, five times the usual difference of two
    rows in succession (the median of the last 40), and a tenth of the first rows' loss.
    It has come back where the median of five rows is above the level by at most half of
    that.

    Before thirteen rows are there, nothing leaps.
    """

    def __init__(self, rows: Iterable[Mapping[str, float]] = ()):
        self.step: int | None = None
        """The first step of the leap that the loss has not come back from."""
        self.level = math.inf
        self._losses: list[float] = []
        self._steps: list[int] = []
        self._margin = 0.0
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        """The next row."""
        self._losses.append(row["loss"])
        self._steps.append(int(row["step"]))
        if self.step is not None:
            if self.now <= self.level + 0.5 * self._margin:
                self.step = None
            return
        before, last = self._losses[:-_LEAP_ROWS][-_NOISE_ROWS:], self._losses[-_LEAP_ROWS:]
        if len(self._losses) < 2 * _LEVEL_ROWS + _LEAP_ROWS:
            return
        start = statistics.median(self._losses[:_LEVEL_ROWS])
        self.level = min(self.level, start, statistics.median(before[-_LEVEL_ROWS:]))
        usual = statistics.median(abs(b - a) for a, b in itertools.pairwise(before))
        self._margin = max(0.5 * (start - self.level), 5.0 * usual, 0.1 * abs(start))
        if min(last) > self.level + self._margin:
            self.step = self._steps[-_LEAP_ROWS]

    @property
    def now(self) -> float:
        """The median of the last five rows."""
        return statistics.median(self._losses[-_LEVEL_ROWS:])


def leap_notice(watch: LossWatch, section: str) -> str:
    """What is said of a loss that leapt and stays high, or "".

    Args:
      watch: has seen the rows.
      section: of the configuration, which sets the learning rate.
    """
    if watch.step is None:
        return ""
    return (
        f"The loss of {section} leapt up at step {watch.step} and has not come back: it was "
        f"{watch.level:.3g} before and is {watch.now:.3g} now, so its result is worth little. "
        f"Lower config.{section}.learning_rate, or shorten long gradients by a smaller "
        f"config.{section}.clip (0 shortens none), and run the command again."
    )


def skipped_notice(rows: Sequence[Mapping[str, float]], section: str, steps: int) -> str:
    """What is said where more than one step in a hundred was skipped, or ""."""
    skipped = round(sum(row.get("skipped_steps", 0.0) for row in rows))
    if 100 * skipped <= steps:
        return ""
    return (
        f"{skipped} of the {steps} steps of {section} were skipped, as their gradient was more "
        f"than config.{section}.skip_above times as long as usual. Lower "
        f"config.{section}.learning_rate, or raise skip_above if the data is so uneven."
    )
