"""Whether the first run is a lottery: the quickstart over seeds and ways to divide it.

    python -m experiments.first_run --workdir=runs/first_run \
        --json=experiments/results/first_run.json

Rounding differs with the number of threads and devices, and grows a hundredfold a step
in so small a network: a run on another machine is as good as another seed. So every
seed is run in three ways: on one core (`taskset -c 0`), on all of them, and on two
devices. Every run is the README's command in a process and a folder of its own; a run
that the JSON file holds is not made again. What an earlier, interrupted call left in
the folder of a run is deleted: a resumed run would take less time than a whole one, and
one of other code would not be this code's.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import jax

from hfpl_jax import atomic
from hfpl_jax.cores import available_cores
from hfpl_jax.stages.metrics import read_metrics

CONFIG = "configs/quickstart.py"
WAYS = {
    "one core": (("taskset", "-c", "0"), ""),
    "all cores": ((), ""),
    "two devices": ((), "--xla_force_host_platform_device_count=2"),
}
"""Name -> (what stands before the command, XLA_FLAGS)."""

FIGURES = ("miou", "contour_f_present")


def one_run(way: str, seed: int, folder: pathlib.Path) -> dict:
    """The figures and seconds of one command in a process of its own."""
    before, xla_flags = WAYS[way]
    shutil.rmtree(folder, ignore_errors=True)
    command = [*before, sys.executable, "-m", "hfpl_jax", f"--config={CONFIG}:seed={seed}"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, f"--workdir={folder}"],
        env={**os.environ, "XLA_FLAGS": xla_flags},
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    metrics = read_metrics(folder / "metrics")
    return {
        "way": way,
        "seed": seed,
        "seconds": round(seconds),
        "threshold": metrics["threshold"],
        **{
            f"{role}_{figure}": metrics[f"{role}/cam/{figure}"]
            for role in ("train", "val")
            for figure in FIGURES
        },
    }


def machine() -> dict:
    """What the runs were made on and with."""
    cpu = pathlib.Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else None
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return {
        "config": CONFIG,
        "threshold_rule": "best mIoU on the masks of training photographs",
        "commit": git.stdout.strip() or "none",
        "cpu": model[1] if model else platform.processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def summary(runs: list[dict]) -> str:
    """Mean, sample standard deviation, worst and best, of each way and of all."""
    lines = [
        "| way | runs | train mIoU | val mIoU | worst val | best val | val contour F | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups = {way: [run for run in runs if run["way"] == way] for way in WAYS} | {"all": runs}
    for way, group in groups.items():
        if len(group) > 1:
            of = {name: [100 * run[name] for run in group] for name in group[0] if "_" in name}
            spread = {
                name: f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"
                for name, values in of.items()
            }
            minutes = statistics.fmean(run["seconds"] for run in group) / 60
            lines.append(
                f"| {way} | {len(group)} | {spread['train_miou']} | {spread['val_miou']} "
                f"| {min(of['val_miou']):.1f} | {max(of['val_miou']):.1f} "
                f"| {spread['val_contour_f_present']} | {minutes:.1f} |"
            )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.first_run")
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument(
        "--json", type=pathlib.Path, required=True, help="of the results; its runs are kept"
    )
    parser.add_argument("--seeds", type=int, default=8, help="0, 1, ... of every way")
    options = parser.parse_args(arguments)
    path = options.json
    results = json.loads(path.read_text()) if path.exists() else {**machine(), "runs": []}
    if results["commit"] != machine()["commit"]:
        sys.exit(f"{path} holds runs of the commit {results['commit']}. Name another file.")
    done = {(run["way"], run["seed"]) for run in results["runs"]}
    for seed in range(options.seeds):
        for way in WAYS:
            if (way, seed) not in done:
                folder = options.workdir.absolute() / f"{way.replace(' ', '_')}-{seed}"
                results["runs"].append(one_run(way, seed, folder))
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic.atomic_write(path, json.dumps(results, indent=1) + "\n")
                print(results["runs"][-1], flush=True)
    print(summary(results["runs"]))


if __name__ == "__main__":
    main(sys.argv[1:])
