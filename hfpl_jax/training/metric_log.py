"""Metrics of a run: a line on the console, a row of JSON, a point in TensorBoard."""

import json
import logging
import os
import pathlib
from collections.abc import Mapping

from hfpl_jax.runtime import atomic
from hfpl_jax.runtime.event_file import EventFile

_LOG = logging.getLogger(__name__)

FILE_NAME = "metrics.jsonl"


def read_rows(directory: str | os.PathLike) -> list[dict]:
    """All whole rows of a run's log up to the first damaged one, such as a last line
    cut off by a crash.
    """
    path = pathlib.Path(directory) / FILE_NAME
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            break
        rows.append(row)
    return rows


class MetricLog:
    """Appends rows from `start_step` on; rows a killed run had written past its last
    checkpoint are dropped first. `rows` are all that the file holds.
    """

    def __init__(self, directory: str | os.PathLike, start_step: int):
        directory = pathlib.Path(directory)
        self.rows = [row for row in read_rows(directory) if row["step"] <= start_step]
        kept = "".join(json.dumps(row) + "\n" for row in self.rows)
        atomic.atomic_write(directory / FILE_NAME, kept)
        self._file = open(directory / FILE_NAME, "a")  # noqa: SIM115 - open for as long as the log
        self._board = EventFile(directory / "tensorboard", start_step + 1)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self.rows.append({"step": step, **metrics})
        self._file.write(json.dumps(self.rows[-1]) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.scalar(name, value, step)
        self._board.flush()
        _LOG.info(
            "step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        )

    def close(self) -> None:
        self._file.close()
        self._board.close()
