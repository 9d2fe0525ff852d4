"""The four cells {GAP, +ISL, +FSL, +both} of a recipe over several seeds: a table, and mIoU against contour F.

    python -m experiments.ablation --config=configs/voc_small.py --workdir=runs/ablation --seeds=3 \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

Each cell is a run of the pipeline up to its metrics, in a folder of its own: stopped at any point, the command goes on where it
was. The dataset is prepared once and the compiled programs are shared. results.json, table.md and figure.png are written again
after every seed.
"""

import json
import logging
import os
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence

import jax
from absl import app, flags
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from ml_collections import ConfigDict, config_flags

from hfpl_jax import atomic, console, pipeline
from hfpl_jax.errors import InputError
from hfpl_jax.stages.metrics import read_metrics

CELLS = {"GAP": (False, False), "+ISL": (True, False), "+FSL": (False, True), "+both": (True, True)}
"""Name -> (importance sampling loss, feature similarity loss)."""

FIGURES = {"mIoU": "miou", "contour F": "contour_f_present", "contour F, 255 ignored": "contour_f_ignoring_255"}
"""Column -> figure of metrics.json; means over the classes that occur, as a part of a dataset may lack some."""

ROLES = ("train", "val")
STAGES = ("data", "train", "cams", "metrics")

_CONFIG = config_flags.DEFINE_config_file("config", None, "The recipe; its loss weights are those of the cells that have the loss.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs and the results.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds 0, 1, ... of every cell.", lower_bound=1)

_LOG = logging.getLogger("hfpl_jax.ablation")


def cell_config(recipe: ConfigDict, cell: str, seed: int, workdir: pathlib.Path) -> ConfigDict:
    """The recipe with a cell's losses and seed; dataset and compiled programs are shared by all cells."""
    isl, fsl = CELLS[cell]
    config = recipe.copy_and_resolve_references()
    with config.unlocked():
        config.seed = seed
        config.hfpl.isl_weight = recipe.hfpl.isl_weight if isl else 0.0
        config.hfpl.fsl_weight = recipe.hfpl.fsl_weight if fsl else 0.0
        config.data.directory = recipe.data.directory or os.fspath(workdir / "data")
        config.run.compilation_cache = os.fspath(workdir / "compilation_cache")
    return config


def run_cell(config: ConfigDict, folder: pathlib.Path) -> dict:
    """The figures of a cell, and the seconds its stages took (of an interrupted stage, since it was resumed)."""
    pipeline.run(config, folder, STAGES)
    metrics = read_metrics(folder / "metrics")
    seconds = {stage: pipeline.read_manifest(folder / stage)["seconds"] for stage in ("train", "cams", "metrics")}
    return {"figures": metrics, "seconds": seconds}


def mean_and_spread(values: Sequence[float]) -> str:
    """In percent: mean, and sample standard deviation where there are several values."""
    mean = f"{100 * statistics.fmean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def table(results: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Markdown: a row a cell, mean ± standard deviation over the seeds."""
    columns = [f"{role} {name}" for role in ROLES for name in FIGURES]
    lines = ["| losses | " + " | ".join(columns) + " | threshold | minutes |", "|---" * (len(columns) + 3) + "|"]
    for cell, by_seed in results.items():
        runs = list(by_seed.values())
        cells = [mean_and_spread([run["figures"][f"{role}/cam/{key}"] for run in runs]) for role in ROLES for key in FIGURES.values()]
        thresholds = ", ".join(f"{run['figures']['threshold']:.2f}" for run in runs)
        minutes = statistics.fmean(sum(run["seconds"].values()) for run in runs) / 60
        lines.append(f"| {cell} | " + " | ".join(cells) + f" | {thresholds} | {minutes:.1f} |")
    return "\n".join(lines) + "\n"


def figure(results: Mapping[str, Mapping[str, Mapping]], path: pathlib.Path) -> None:
    """mIoU against contour F for train and val: every run a dot, every cell its mean, an arrow from the baseline to both losses."""
    page = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(page)
    for axes, role in zip(page.subplots(1, 2), ROLES, strict=True):
        means = {}
        for cell, by_seed in results.items():
            x, y = ([100 * run["figures"][f"{role}/cam/{key}"] for run in by_seed.values()] for key in ("miou", "contour_f_present"))
            means[cell] = statistics.fmean(x), statistics.fmean(y)
            (dots,) = axes.plot(x, y, "o", markersize=4, alpha=0.4)
            axes.plot(*means[cell], "o", markersize=9, color=dots.get_color(), label=cell)
        axes.annotate("", means["+both"], means["GAP"], arrowprops={"arrowstyle": "->", "color": "0.4"})
        axes.set(title=f"{role} CAMs", xlabel="mIoU (%)", ylabel="contour F (%)")
        axes.grid(alpha=0.2)
        axes.legend(frameon=False)
    with atomic.atomic_path(path) as temporary:
        page.savefig(temporary, format="png", dpi=130)


def main(argv: list[str]) -> None:
    del argv
    console.set_up()
    recipe, workdir = _CONFIG.value, pathlib.Path(_WORKDIR.value).absolute()
    jax.config.update("jax_compilation_cache_dir", os.fspath(workdir / "compilation_cache"))
    results: dict[str, dict[str, dict]] = {cell: {} for cell in CELLS}
    try:
        for seed in range(_SEEDS.value):
            for cell in CELLS:
                _LOG.info("%s, seed %d", cell, seed)
                folder = workdir / f"{cell.strip('+').lower()}-{seed}"
                results[cell][str(seed)] = run_cell(cell_config(recipe, cell, seed, workdir), folder)
            atomic.atomic_write(workdir / "results.json", json.dumps(results, indent=1) + "\n")
            atomic.atomic_write(workdir / "table.md", table(results))
            figure(results, workdir / "figure.png")
            print(table(results))
    except InputError as error:
        print(f"\nablation: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
