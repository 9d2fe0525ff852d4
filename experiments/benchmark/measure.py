"""Times a piece against its reference, once both have given the same numbers."""

import importlib.util
import time
from collections.abc import Mapping

import numpy as np

from experiments.benchmark.pieces import Piece
from experiments.benchmark.side import Report, SideProcess
from experiments.parity.check import relative_error

TURNS = (3, 12)
"""The fewest and the most times that each side runs."""
SECONDS = 8.0
"""No further turn is taken once the runs of a piece have taken so long."""


class BenchmarkError(Exception):
    """A message for the user: what is wrong and what to do."""


def reference_of(piece: Piece) -> tuple[str, str] | None:
    """(name, function) of the first of the piece's references whose package is
    installed, None without any.
    """
    for name, function in piece.references.items():
        if importlib.util.find_spec(name) is not None:
            return name, function
    return None


def needs(name: str, piece: Piece) -> str:
    """What to install for a piece without a reference; "" where it has one."""
    if reference_of(piece):
        return ""
    packages = " or ".join(piece.references)
    return (
        f"{name} is measured against {packages}, which is not installed: pip install -e "
        "'.[benchmark]'."
    )


def check(
    name: str, ours: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], tolerance: float
) -> float:
    """The largest relative error over all numbers, see `relative_error`.

    Raises:
      BenchmarkError: it exceeds the tolerance, is not a number, or the sides name other
        numbers.
    """
    if set(ours) != set(reference) or not ours:
        raise BenchmarkError(
            f"{name}: ours gives the numbers {sorted(ours)}, the reference {sorted(reference)}. "
            "They must be the same."
        )
    errors = {key: relative_error(ours[key], reference[key]) for key in ours}
    wrong = [f"{key} by {error:.1e}" for key, error in errors.items() if not error <= tolerance]
    if wrong:
        raise BenchmarkError(
            f"{name}: ours and the reference differ by more than {tolerance:.0e} of the largest "
            f"value: {', '.join(wrong)}."
        )
    return max(errors.values())


def measure(
    name: str, piece: Piece, sizes: Mapping, limits: Mapping[str, float] | None = None
) -> dict:
    """The piece's entry of the JSON file.

    Args:
      limits: of `machine.limits`, to which the achieved rates are compared.

    Raises:
      BenchmarkError: the sides' numbers differ, or no reference is installed.
      SideError: a side failed.
    """
    found = reference_of(piece)
    if found is None:
        raise BenchmarkError(needs(name, piece))
    reference, function = found
    # One after the other: neither compiles while the other's memory is measured.
    with SideProcess(piece.ours, sizes) as ours, SideProcess(function, sizes) as theirs:
        error = check(name, ours.report.numbers, theirs.report.numbers, piece.tolerance)
        times: tuple[list[float], list[float]] = ([], [])
        start = time.perf_counter()
        while len(times[0]) < TURNS[0] or (
            len(times[0]) < TURNS[1] and time.perf_counter() - start < SECONDS
        ):
            times[0].append(ours.seconds())
            times[1].append(theirs.seconds())
        ours_s, reference_s = min(times[0]), min(times[1])
        return {
            "speedup": reference_s / ours_s,
            "ours_s": ours_s,
            "reference_s": reference_s,
            "reference": reference,
            "work": piece.work.format(**sizes),
            "peak_mb": ours.report.peak_mb,
            "reference_peak_mb": theirs.report.peak_mb,
            "error": error,
            "tolerance": piece.tolerance,
            "runs": len(times[0]),
            **_rates(ours.report, ours_s, limits or {}),
        }


def _rates(report: Report, seconds: float, limits: Mapping[str, float]) -> dict[str, float]:
    """Images, operations and bytes a second, and the latter as a share of what the
    machine can do."""
    rates = {}
    if report.images:
        rates["images_per_s"] = report.images / seconds
    for key, count, share in (
        ("flops_per_s", report.flops, "share_of_matmul"),
        ("bytes_per_s", report.bytes, "share_of_copy"),
    ):
        if count:
            rates[key] = count / seconds
            if key in limits:
                rates[share] = rates[key] / limits[key]
    return rates
