"""Times the library against what one would run instead, PyTorch and the published
program's way of computing, on the same work.

    python -m experiments.benchmark --json=FILE [--only=crf,random_walk] [--small]

Each side of a piece runs in a process of its own; both must give the same numbers, to
the tolerance in the table, or the command fails. Then they take turns. Times are the
best of several runs, without compilation and imports; memory is the most that a run
takes beyond what lies there before it. PyTorch and pydensecrf are optional (`pip
install -e '.[benchmark]'`); without them the reference does the same in JAX, NumPy or
SciPy.
"""

import importlib.util
import json
import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags

from experiments.benchmark.pieces import PIECES, Piece
from experiments.benchmark.side import Report, SideError, SideProcess, cores
from experiments.parity.check import relative_error
from hfpl_jax import atomic

TURNS = (3, 12)
"""The fewest and the most times that each side runs."""
SECONDS = 8.0
"""No further turn is taken once the runs of a piece have taken so long."""
LIMITS = "experiments.benchmark.machine:limits"

_JSON = flags.DEFINE_string("json", None, "File for the results.")
_ONLY = flags.DEFINE_list("only", [], f"Some of {', '.join(PIECES)}; all if empty.")
_SMALL = flags.DEFINE_bool("small", False, "Small sizes: whether everything runs, not how fast.")


class BenchmarkError(Exception):
    """A message for the user: what is wrong and what to do."""


def reference_of(piece: Piece) -> tuple[str, str]:
    """(name, function) of the first of the piece's references whose package is
    installed.
    """
    return next(
        (name, function)
        for name, function in piece.references.items()
        if importlib.util.find_spec(name) is not None
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
      BenchmarkError: the sides' numbers differ.
      SideError: a side failed.
    """
    reference, function = reference_of(piece)
    tolerance = piece.other_tolerances.get(reference, piece.tolerance)
    # One after the other: neither compiles while the other's memory is measured.
    with SideProcess(piece.ours, sizes) as ours, SideProcess(function, sizes) as theirs:
        error = check(name, ours.report.numbers, theirs.report.numbers, tolerance)
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
            "tolerance": tolerance,
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


HEADER = (
    f"{'piece':<24}{'ours':>11}{'reference':>12}{'speedup':>10}{'MB':>9}{'ref. MB':>9}"
    f"{'GFLOP/s':>9}{'GB/s':>7}  reference, error"
)


def line(name: str, entry: Mapping) -> str:
    """A row of the table; rates stand with their share of the machine's."""

    def rate(key: str) -> str:
        return f"{entry[key] / 1e9:.1f}" if key in entry else "-"

    return (
        f"{name:<24}{1e3 * entry['ours_s']:>8.1f} ms{1e3 * entry['reference_s']:>9.1f} "
        f"ms{entry['speedup']:>9.2f}x"
        f"{entry['peak_mb']:>9.1f}{entry['reference_peak_mb']:>9.1f}{rate('flops_per_s'):>9}{rate('bytes_per_s'):>7}"
        f"  {entry['reference']}, {entry['error']:.0e}"
    )


def input_pipeline_line(results: Mapping[str, Mapping]) -> str:
    """Whether the data keep up with the fastest training step that was measured."""
    steps = [
        entry["images_per_s"] for name, entry in results.items() if name.startswith("seam_step")
    ]
    if "input_pipeline" not in results or not steps:
        return ""
    data = results["input_pipeline"]["images_per_s"]
    return (
        f"The input pipeline makes {data:.1f} images/s, "
        f"a training step takes {max(steps):.2f} images/s.\n"
    )


def run(names: Sequence[str], small: bool) -> dict[str, dict]:
    """Measures and prints the pieces; every one is tried, and those that fail are named
    at the end.

    Raises:
      BenchmarkError: a piece failed, or a name is none.
    """
    unknown = [name for name in names if name not in PIECES]
    if unknown:
        raise BenchmarkError(f"--only has {', '.join(unknown)}; known are {', '.join(PIECES)}.")
    with SideProcess(LIMITS, {"small": small}) as machine:
        limits = {key: float(value) for key, value in machine.report.numbers.items()}
    rates = (
        f"matrix product {limits['flops_per_s'] / 1e9:.0f} GFLOP/s, "
        f"copy {limits['bytes_per_s'] / 1e9:.1f} GB/s, float32"
    )
    print(
        f"{cores()} cores; {rates}. Best of {TURNS[0]} to {TURNS[1]} runs, taking turns, without "
        f"compilation.\n\n{HEADER}"
    )
    results, failed = {}, []
    for name in names or PIECES:
        piece = PIECES[name]
        try:
            results[name] = measure(name, piece, piece.small if small else piece.sizes, limits)
            print(line(name, results[name]), flush=True)
        except (BenchmarkError, SideError) as error:
            failed.append(name)
            print(f"{name:<24}FAILED: {error}", flush=True)
    print(f"\n{input_pipeline_line(results)}", end="")
    if failed:
        raise BenchmarkError(f"Failed: {', '.join(failed)}. The reasons stand in the table.")
    return results


def main(argv: list[str]) -> None:
    del argv
    try:
        results = run(_ONLY.value, _SMALL.value)
        atomic.atomic_write(_JSON.value, json.dumps(results, indent=1) + "\n")
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    flags.mark_flags_as_required(["json"])
    app.run(main)
