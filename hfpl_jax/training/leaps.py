"""When a training diverges: a gradient far longer than the ones before it, and
a loss that leaps and does not come back.

A gradient that leaps is seen on the device, and its step is skipped before it can do
harm. A loss that leaps is seen in the rows of the log, and only said.
"""

import statistics
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array, Bool, Float, typed

WINDOW = 64
"""Steps whose gradient norms the running median is of."""

_LEVEL_ROWS, _LEAP_ROWS, _FIRST_ROWS = 5, 3, 5


@typed
def gradient_leaps(
    norm: Float[Array, ""], norms: Float[Array, "n"], factor: float | int
) -> Bool[jax.Array, ""]:
    """Whether a gradient is more than `factor` times as long as the median of the last.

    Args:
      norm: of this step's gradient.
      norms: of the last steps, NaN where there was none yet. Before half of them are
        there, nothing leaps: the first gradients of a training are its longest.
    """
    enough = jnp.sum(~jnp.isnan(norms)) >= norms.size // 2
    return enough & (norm > factor * jnp.nanmedian(norms))


def loss_leap(rows: Sequence[Mapping[str, float]]) -> int | None:
    """The step at which the loss leapt up and from which it has not come back; or None.

    Of the rows of metrics.jsonl, means over some steps each. The level is the lowest
    median of five rows in succession. A leap is three rows in succession that lie above
    it by more than half of what the loss had fallen; it has not come back where the
    median of the last five rows is above the level by more than a quarter.
    """
    losses = [row["loss"] for row in rows]
    if len(losses) < _FIRST_ROWS + _LEVEL_ROWS + _LEAP_ROWS:
        return None
    start = statistics.median(losses[:_FIRST_ROWS])
    level, leapt = start, None
    for index in range(_FIRST_ROWS, len(losses) - _LEAP_ROWS + 1):
        if leapt is None:
            level = min(level, statistics.median(losses[index - _LEVEL_ROWS : index]))
        fallen = start - level
        rise = min(losses[index : index + _LEAP_ROWS]) - level
        if leapt is None and fallen > 0.1 * abs(start) and rise > 0.5 * fallen:
            leapt = index
    now = statistics.median(losses[-_LEVEL_ROWS:])
    return int(rows[leapt]["step"]) if leapt is not None and now - level > 0.25 * fallen else None


def leap_notice(rows: Sequence[Mapping[str, float]], section: str) -> str:
    """What is said of a loss that leapt and stays high, or "".

    Args:
      rows: of metrics.jsonl.
      section: of the configuration, which sets the learning rate.
    """
    step = loss_leap(rows)
    if step is None:
        return ""
    before = min(row["loss"] for row in rows if row["step"] < step)
    return (
        f"The loss of {section} leapt up at step {step} and has not come back: it was {before:.2f} "
        f"before and is {rows[-1]['loss']:.2f} now, so its result is worth little. Lower "
        f"config.{section}.learning_rate or config.{section}.clip and run the command again."
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
