"""The four cells {GAP, +ISL, +FSL, +both} of a recipe over several seeds: a table, and
mIoU against contour F.

    python -m experiments.ablation --config=configs/cam.py:data=voc,small \
        --workdir=runs/voc --seeds=3 --config.data.root=VOCdevkit \
        --config.model.weights=resnet50.safetensors

Each cell is a run of the pipeline in a folder of its own, up to the CAMs' metrics or to
a later stage; stopped at any point, the same command resumes. The dataset is
prepared once and the compiled programs are shared. results.json (see
`experiments.results`), table.md (a row for every kind of masks that was scored) and
figure.png (of the CAMs) are written again after every seed.
"""

import json
import logging
import os
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence

import jax
from absl import flags
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.results import facts
from hfpl_jax import command_line, pipeline
from hfpl_jax.errors import InputError
from hfpl_jax.recipe import load_recipe
from hfpl_jax.runtime import allocator, atomic, console
from hfpl_jax.runtime.stage_json import read_stage_json
from hfpl_jax.settings import check
from hfpl_jax.stages.fields import check_read
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.notices import NOTICES
from hfpl_jax.stages.scoring import METRICS_FILE

CELLS = {"GAP": (False, False), "+ISL": (True, False), "+FSL": (False, True), "+both": (True, True)}
"""Name -> (importance sampling loss, feature similarity loss)."""

FIGURES = {
    "mIoU": "miou",
    "contour F": "contour_f_present",
    "contour F, 255 ignored": "contour_f_ignoring_255",
}
"""Column -> figure of metrics.json; means over the classes that occur, as a part of a
dataset may lack some.
"""

ROLES = ("train", "val")

_LOG = logging.getLogger("hfpl_jax.ablation")


def options() -> flags.FlagValues:
    """Beside the recipe, whose loss weights are those of the cells that have the
    loss.
    """
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "Folder of the runs and the results.", values)
    flags.DEFINE_list("cells", list(CELLS), f"Which of {', '.join(CELLS)}.", values)
    flags.DEFINE_enum(
        "until",
        "metrics",
        pipeline.stage_names()[pipeline.stage_names().index("metrics") :],
        "The last stage of every cell.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seeds", 3, "Seeds 0, 1, ... of every cell.", lower_bound=1, flag_values=values
    )
    return values


def cell_config(recipe: ConfigDict, cell: str, seed: int, workdir: pathlib.Path) -> ConfigDict:
    """The recipe with a cell's losses and seed; dataset and compiled programs are
    shared by all cells.
    """
    isl, fsl = CELLS[cell]
    config = recipe.copy_and_resolve_references()
    with config.unlocked():
        config.seed = seed
        config.hfpl.isl_weight = recipe.hfpl.isl_weight if isl else 0.0
        config.hfpl.fsl_weight = recipe.hfpl.fsl_weight if fsl else 0.0
        config.data.directory = recipe.data.directory or os.fspath(workdir / "data")
        config.run.compilation_cache = recipe.run.compilation_cache or os.fspath(
            workdir / "compilation_cache"
        )
    return config


def check_cells(
    typed: ConfigDict,
    recipe: ConfigDict,
    cells: Mapping[str, ConfigDict],
    stages: Sequence[str],
) -> None:
    """Raises InputError for what no cell could be run with, or would read.

    Args:
      typed: the recipe with the fields that were set.
      recipe: as its file returns it.
      cells: the configuration of each.
      stages: names of those to run.
    """
    for config in cells.values():
        check(config, stages)
    if typed.seed != recipe.seed:
        raise InputError(
            f"config.seed = {typed.seed} has no effect: every cell is run with the seeds 0, 1, ... "
            "Say how many with --seeds."
        )
    check_read(typed, recipe, pipeline.all_stages(), list(cells.values()))
    for index, field in enumerate(("isl_weight", "fsl_weight")):
        with_loss, weight = [cell for cell in cells if CELLS[cell][index]], typed.hfpl[field]
        if with_loss and not weight:
            raise InputError(
                f"config.hfpl.{field} = 0 leaves the cell {with_loss[0]} without that loss. Set "
                "it above 0, or leave the cell out of --cells."
            )
        if not with_loss and weight != recipe.hfpl[field]:
            raise InputError(
                f"config.hfpl.{field} = {weight!r} has no effect: of the cells {', '.join(cells)} "
                "none has that loss. Add one that has it to --cells, or leave the field at the "
                f"recipe's {recipe.hfpl[field]!r}."
            )


def run_cell(config: ConfigDict, folder: pathlib.Path, stages: Sequence[str]) -> dict:
    """The figures of a cell, the seconds its stages took (of an interrupted stage,
    since it was resumed), and what to know before one trusts them.
    """
    notices = pipeline.run(config, folder, stages).notices
    figures, seconds = read_metrics(folder / "metrics"), {}
    for stage in (
        stage.name
        for stage in pipeline.stages_of(config)
        if stage.name in stages and stage.name != "data"
    ):
        seconds[stage] = pipeline.read_manifest(folder / stage)["seconds"]
        if (folder / stage / METRICS_FILE).exists():
            figures |= read_stage_json(folder / stage / METRICS_FILE)
    figures.pop(NOTICES, None)
    return {"figures": figures, "seconds": seconds, "notices": list(notices)}


def mean_and_spread(values: Sequence[float]) -> str:
    """In percent: mean, and sample standard deviation where there are several
    values.
    """
    mean = f"{100 * statistics.fmean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def table(results: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Markdown: a row a cell and kind of masks, mean ± standard deviation over the
    seeds.
    """
    columns = [f"{role} {name}" for role in ROLES for name in FIGURES]
    lines = [
        "| losses | masks | " + " | ".join(columns) + " | threshold | minutes |",
        "|---" * (len(columns) + 4) + "|",
    ]
    for cell, by_seed in results.items():
        runs = list(by_seed.values())
        thresholds = ", ".join(f"{run['figures']['threshold']:.2f}" for run in runs)
        minutes = statistics.fmean(sum(run["seconds"].values()) for run in runs) / 60
        keys = dict.fromkeys(key for run in runs for key in run["figures"] if "/" in key)
        for kind in dict.fromkeys(key.split("/")[1] for key in keys):
            keys = [f"{role}/{kind}/{key}" for role in ROLES for key in FIGURES.values()]
            if any(key in run["figures"] for key in keys for run in runs):
                figures = [
                    [run["figures"][key] for run in runs if key in run["figures"]] for key in keys
                ]
                row = [
                    cell,
                    kind.replace("_", " "),
                    *(mean_and_spread(values) if values else "" for values in figures),
                ]
                lines.append("| " + " | ".join([*row, thresholds, f"{minutes:.1f}"]) + " |")
    return "\n".join(lines) + "\n"


def notices(results: Mapping[str, Mapping[str, Mapping]]) -> str:
    """A line for everything to know before one trusts the table."""
    return "".join(
        f"Notice, {cell}, seed {seed}: {notice}\n"
        for cell, by_seed in results.items()
        for seed, run in by_seed.items()
        for notice in run["notices"]
    )


def figure(results: Mapping[str, Mapping[str, Mapping]]) -> Figure | None:
    """mIoU against contour F, a panel for train and for val where it has masks: every
    run a dot, every cell its mean, an arrow from the baseline to both losses. None
    where nothing was scored.
    """
    points = {
        role: {
            cell: found
            for cell, by_seed in results.items()
            if (found := [point for run in by_seed.values() if (point := _point(run, role))])
        }
        for role in ROLES
    }
    points = {role: cells for role, cells in points.items() if cells}
    if not points:
        return None
    page = Figure(figsize=(4.5 * len(points), 4), layout="constrained")
    FigureCanvasAgg(page)
    panels = page.subplots(1, len(points), squeeze=False)[0]
    for axes, (role, cells) in zip(panels, points.items(), strict=True):
        means = {}
        for cell, found in cells.items():
            x, y = zip(*found, strict=True)
            means[cell] = statistics.fmean(x), statistics.fmean(y)
            (dots,) = axes.plot(x, y, "o", markersize=4, alpha=0.4)
            axes.plot(*means[cell], "o", markersize=9, color=dots.get_color(), label=cell)
        if means.keys() >= {"GAP", "+both"}:
            axes.annotate(
                "", means["+both"], means["GAP"], arrowprops={"arrowstyle": "->", "color": "0.4"}
            )
        axes.set(title=f"{role} CAMs", xlabel="mIoU (%)", ylabel="contour F (%)")
        axes.grid(alpha=0.2)
        axes.legend(frameon=False)
    return page


def _point(run: Mapping, role: str) -> tuple[float, float] | None:
    """The CAMs' mIoU and contour F in percent; None where a split has no masks."""
    x, y = (run["figures"].get(f"{role}/cam/{key}") for key in ("miou", "contour_f_present"))
    return None if x is None or y is None else (100 * x, 100 * y)


def main(arguments: Sequence[str]) -> None:
    """`arguments` lack the program's name."""
    console.set_up()
    try:
        asked = options()
        typed = command_line.read(arguments, asked, "experiments.ablation")
        if typed is None:
            return
        recipe, workdir = typed[1], pathlib.Path(asked["workdir"].value).absolute()
        cells, until = asked["cells"].value, asked["until"].value
        stages = pipeline.stage_names()[: 1 + pipeline.stage_names().index(until)]
        if unknown := set(cells) - CELLS.keys():
            raise InputError(
                f"Unknown cells {sorted(unknown)} in --cells. Known are {', '.join(CELLS)}."
            )
        if not cells:
            raise InputError(f"--cells names none. Choose from {', '.join(CELLS)}.")
        first = {cell: cell_config(recipe, cell, 0, workdir) for cell in cells}
        check_cells(recipe, load_recipe(typed[0]), first, stages)
        allocator.keep_freed_memory()
        cache = recipe.run.compilation_cache or os.fspath(workdir / "compilation_cache")
        jax.config.update("jax_compilation_cache_dir", cache)
        results: dict[str, dict[str, dict]] = {cell: {} for cell in CELLS if cell in cells}
        manifests: list[dict] = []
        for seed in range(asked["seeds"].value):
            for cell in results:
                _LOG.info("%s, seed %d", cell, seed)
                folder = workdir / f"{cell.strip('+').lower()}-{seed}"
                run = run_cell(cell_config(recipe, cell, seed, workdir), folder, stages)
                results[cell][str(seed)] = run
                manifests += [pipeline.read_manifest(folder / stage) for stage in run["seconds"]]
            study = {**facts(typed[0], recipe, manifests), "runs": results}
            atomic.atomic_write(workdir / "results.json", json.dumps(study, indent=1) + "\n")
            atomic.atomic_write(workdir / "table.md", table(results))
            if page := figure(results):
                with atomic.atomic_path(workdir / "figure.png") as temporary:
                    page.savefig(temporary, format="png", dpi=130)
            print(f"{table(results)}\n{notices(results)}")
    except InputError as error:
        print(f"\nablation: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
