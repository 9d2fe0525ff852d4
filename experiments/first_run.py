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
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import jax

from experiments.ablation.tables import mean_and_spread
from experiments.results import NOT_RECORDED, config_hash, read, span
from hfpl_jax.errors import InputError
from hfpl_jax.recipe import load_recipe
from hfpl_jax.runtime import atomic
from hfpl_jax.runtime.provenance import commit, machine, today
from hfpl_jax.stages.metrics import read_metrics

CONFIG = "configs/quickstart.py"
WAYS = {
    "one core": (("taskset", "-c", "0"), ""),
    "all cores": ((), ""),
    "two devices": ((), "--xla_force_host_platform_device_count=2"),
}
"""Name -> (what stands before the command, XLA_FLAGS)."""

FIGURES = (
    "threshold",
    "threshold_rule",
    *(f"{role}/cam/{name}" for role in ("train", "val") for name in ("miou", "contour_f_present")),
)


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
        "figures": {name: metrics[name] for name in FIGURES},
        "seconds": {"command": round(seconds)},
    }


def facts() -> dict:
    """What the runs are made with."""
    return {
        "config": CONFIG,
        "config_hash": config_hash(load_recipe(CONFIG)),
        "commit": commit() or NOT_RECORDED,
        "machine": f"{machine()}, JAX {jax.__version__}",
        "date": today(),
    }


def summary(runs: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Mean, sample standard deviation, worst and best, of each way and of all."""
    lines = [
        "| way | runs | train mIoU | val mIoU | worst val | best val | val contour F | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups = {way: list(by_seed.values()) for way, by_seed in runs.items()}
    groups["all"] = [run for group in groups.values() for run in group]
    for way, group in groups.items():
        if len(group) > 1:
            of = {name: [run["figures"][name] for run in group] for name in FIGURES if "/" in name}
            worst, best = (100 * each(of["val/cam/miou"]) for each in (min, max))
            minutes = statistics.fmean(run["seconds"]["command"] for run in group) / 60
            lines.append(
                f"| {way} | {len(group)} | {mean_and_spread(of['train/cam/miou'])} "
                f"| {mean_and_spread(of['val/cam/miou'])} | {worst:.1f} | {best:.1f} "
                f"| {mean_and_spread(of['val/cam/contour_f_present'])} | {minutes:.1f} |"
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
    now = facts()
    try:
        study = read(path) if path.exists() else {**now, "runs": {way: {} for way in WAYS}}
    except InputError as error:
        sys.exit(f"first_run: {error}")
    if study["commit"] != now["commit"]:
        sys.exit(f"{path} holds runs of the commit {study['commit']}. Name another file.")
    if study["runs"].keys() != WAYS.keys():
        sys.exit(f"{path} holds runs of another experiment. Name another file.")
    for seed in range(options.seeds):
        for way in WAYS:
            if str(seed) not in study["runs"][way]:
                folder = options.workdir.absolute() / f"{way.replace(' ', '_')}-{seed}"
                study["runs"][way][str(seed)] = run = one_run(way, seed, folder)
                study["date"] = span([*study["date"].split(" to "), today()])
                path.parent.mkdir(parents=True, exist_ok=True)
                atomic.atomic_write(path, json.dumps(study, indent=1) + "\n")
                print(way, seed, run["figures"], flush=True)
    print(summary(study["runs"]))


if __name__ == "__main__":
    main(sys.argv[1:])
