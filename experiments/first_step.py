"""How long from the command to its first training step, and where that time goes:

    python -m experiments.first_step --workdir=runs/first_step --json=first_step.json \
        -- --config=configs/quickstart.py

The dataset is prepared and XLA's cache of compiled programs is filled by a run that is
not counted. Then the command is started `--runs` times in a process of its own, which
ends with its first step; what it has trained is deleted before the next. A part counts
in seconds by the clock and in seconds of a core, of all threads together: on a busy
machine only the second says something. What follows `--` are options of `python -m
hfpl_jax`.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from hfpl_jax.runtime import atomic
from hfpl_jax.runtime.provenance import commit, machine, today

PARTS = (
    "imports",
    "devices",
    "checks and dataset",
    "shapes",
    "parameters",
    "state",
    "first batch",
    "step: tracing",
    "step: program from the cache",
    "step: computing",
)
"""In their order. Shapes: of networks, optimizer and state, traced. State: its first
momenta, and all of it where it is to live.
"""

KEPT = ("data", "compilation_cache")


def one_run(options: Sequence[str], workdir: pathlib.Path) -> dict[str, list[float]]:
    """Part -> its seconds by the clock and of a core, in a process of its own.

    Raises:
      RuntimeError: it ended before its first step.
    """
    for path in workdir.iterdir() if workdir.exists() else ():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    marks = workdir / "marks.json"
    command = [sys.executable, "-m", "experiments.first_step_marks", str(time.monotonic())]
    done = subprocess.run(
        [*command, str(marks), *options, f"--workdir={workdir}"],
        env={
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        },
        capture_output=True,
        text=True,
    )
    if not marks.exists():
        raise RuntimeError(f"There was no training step:\n{done.stderr}")
    parts = json.loads(marks.read_text())
    assert tuple(parts) == PARTS
    return parts


def best(runs: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, dict[str, float]]:
    """The run that took the fewest seconds of a core, its parts and their sum."""
    parts = min(runs, key=lambda run: sum(core for _, core in run.values()))
    whole = [sum(each[place] for each in parts.values()) for place in (0, 1)]
    return {
        name: {"clock_s": round(clock, 3), "core_s": round(core, 3)}
        for name, (clock, core) in {**parts, "all": whole}.items()
    }


def table(parts: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        f"| {name} | {each['clock_s']:.2f} | {each['core_s']:.2f} |" for name, each in parts.items()
    ]
    return "\n".join(["| part | seconds | of a core |", "|---|---|---|", *rows])


def main(arguments: Sequence[str]) -> None:
    place = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of the runs")
    parser.add_argument("--json", required=True, help="file for the results")
    parser.add_argument("--runs", type=int, default=5, help="of which the best counts")
    own, options = parser.parse_args(arguments[:place]), arguments[place + 1 :]
    workdir = own.workdir.absolute()
    one_run(options, workdir)
    runs = [one_run(options, workdir) for _ in range(own.runs)]
    parts = best(runs)
    content = {"command": options, "commit": commit(), "machine": machine(), "date": today()}
    atomic.atomic_write(
        pathlib.Path(own.json), json.dumps({**content, "parts": parts}, indent=1) + "\n"
    )
    print(table(parts))


if __name__ == "__main__":
    main(sys.argv[1:])
