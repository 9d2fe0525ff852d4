"""Times the library against what one would run instead, PyTorch and the published
program's way of computing, on the same work.

    python -m experiments.benchmark --json=FILE [--only=crf,random_walk] [--small]

Each side of a piece runs in a process of its own; both must give the same numbers, to
the tolerance in the table, or the command fails. Then they take turns. Times are the
best of several runs, without compilation and imports; memory is the most that a run
takes beyond what lies there before it. PyTorch and pydensecrf are optional (`pip
install -e '.[benchmark]'`): without PyTorch the reference does the same in JAX or NumPy,
without pydensecrf the pieces of the CRF are left out.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

from experiments.benchmark.measure import TURNS, BenchmarkError, measure, needs
from experiments.benchmark.pieces import PIECES
from experiments.benchmark.side import SideError, SideProcess, cores
from hfpl_jax.runtime import atomic
from hfpl_jax.runtime.provenance import made_by

LIMITS = "experiments.benchmark.machine:limits"

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
    at the end. Returned are the machine's rates and what was measured of each piece.

    Raises:
      BenchmarkError: a piece failed, a name is none, or a named piece lacks its reference.
    """
    unknown = [name for name in names if name not in PIECES]
    if unknown:
        raise BenchmarkError(f"--only has {', '.join(unknown)}; known are {', '.join(PIECES)}.")
    missing = {name: why for name in names or PIECES if (why := needs(name, PIECES[name]))}
    if names and missing:
        raise BenchmarkError(" ".join(missing.values()))
    for why in missing.values():
        print(f"Left out: {why}", flush=True)
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
    for name in names or (name for name in PIECES if name not in missing):
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
    return {"machine": limits, "pieces": results}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark")
    parser.add_argument("--json", type=pathlib.Path, required=True, help="file for the results")
    parser.add_argument(
        "--only",
        type=lambda names: names.split(","),
        default=[],
        help=f"some of {', '.join(PIECES)}; all without it",
    )
    parser.add_argument(
        "--small", action="store_true", help="small sizes: whether everything runs, not how fast"
    )
    options = parser.parse_args(arguments)
    try:
        measured = run(options.only, options.small)
        # Asked last: it takes hold of the devices.
        content = {"made_by": made_by(), **measured}
        atomic.atomic_write(options.json, json.dumps(content, indent=1) + "\n")
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
