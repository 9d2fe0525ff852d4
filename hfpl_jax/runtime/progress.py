"""Progress of a loop: a bar with rate and time left on a terminal, a plain line now and
then elsewhere.
"""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


class _RateColumn(ProgressColumn):
    def render(self, task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0.0:.1f} {task.fields['unit']}/s")


def format_seconds(seconds: float) -> str:
    """3725.0 -> '1:02:05'; 65.2 -> '1:05'."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


class Meter:
    """Counts units of work done; `with Meter(...) as meter: meter.advance(n)`. `note`
    is shown at the end of the line.
    """

    def __init__(
        self,
        description: str,
        total: int,
        *,
        unit: str = "images",
        done: int = 0,
        every_s: float = 15.0,
    ):
        self._description, self._total, self._unit, self._every_s = (
            description,
            total,
            unit,
            every_s,
        )
        self._done = self._start_done = done
        self._bar = None
        if sys.stderr.isatty() and _LOG.isEnabledFor(logging.INFO):
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                _RateColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, transient=False)
            self._task = self._bar.add_task(
                description, total=total, completed=done, unit=unit, note=""
            )

    def __enter__(self) -> "Meter":
        self._start = self._last = time.monotonic()
        if self._bar:
            self._bar.start()
        return self

    def advance(self, units: int = 1, note: str = "") -> None:
        self._done += units
        if self._bar:
            self._bar.update(self._task, advance=units, note=note)
            return
        now = time.monotonic()
        if now - self._last >= self._every_s:
            self._last = now
            left = (self._total - self._done) / max(self.rate, 1e-9)
            _LOG.info(
                "%s: %d/%d, %.1f %s/s, %s left%s",
                self._description,
                self._done,
                self._total,
                self.rate,
                self._unit,
                format_seconds(left),
                f" ({note})" if note else "",
            )

    @property
    def rate(self) -> float:
        """Units a second since the meter was entered."""
        return (self._done - self._start_done) / max(time.monotonic() - self._start, 1e-9)

    def __exit__(self, exc_type, *_) -> None:
        if self._bar:
            self._bar.stop()
        elif exc_type is None and self._done > self._start_done:
            _LOG.info(
                "%s: %d %s in %s (%.1f %s/s)",
                self._description,
                self._done - self._start_done,
                self._unit,
                format_seconds(time.monotonic() - self._start),
                self.rate,
                self._unit,
            )


def track(items: Iterable[T], description: str, total: int, *, unit: str = "images") -> Iterator[T]:
    """Yields `items` while showing progress."""
    with Meter(description, total, unit=unit) as meter:
        for item in items:
            yield item
            meter.advance()
