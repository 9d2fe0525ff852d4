"""The four cells {GAP, +ISL, +FSL, +both} of a recipe, or of the recipes of several
methods, or of several settings, over several seeds: tables, mIoU against contour F, and
the masks.

    python -m experiments.ablation --config=configs/cam.py:data=voc,small \
        --workdir=runs/voc --seeds=3 --config.data.root=VOCdevkit \
        --config.model.weights=resnet50.safetensors
    python -m experiments.ablation --methods=cam,seam,puzzle --cells=GAP,+both \
        --workdir=runs/figure1 --seeds=3 --config.data.root=VOCdevkit \
        --config.model.weights=resnet50.safetensors
    python -m experiments.ablation --config=configs/quickstart.py --cells=+both \
        --workdir=runs/refiners --seeds=3 --until=labels \
        --vary="crf: refine.name=crf" --vary="par: refine.name=par"

Each cell is a run of the pipeline in a folder of its own, up to the CAMs' metrics or to
a later stage; stopped at any point, the same command resumes. The dataset is
prepared once and the compiled programs are shared. After every run are written again:
results.json (see `experiments.results`), table.md (a row for every kind of masks that
was scored, then what both losses add, seed by seed), figure.png (of the CAMs); after
the last one pictures.png, the masks of the first seed's CAMs. With --vary the table has
what differs alone, and there are no pictures: the variants of a cell share a folder.
"""

import json
import logging
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

import jax
from absl import flags

from experiments.ablation import cells, tables
from experiments.ablation.cells import CELLS, Recipe
from experiments.ablation.figure import figure
from experiments.ablation.pictures import pictures
from experiments.ablation.variants import variants
from experiments.results import facts
from hfpl_jax import command_line, pipeline, program
from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.recipe import load_recipe
from hfpl_jax.runtime import allocator, atomic, console

PROGRAM = "experiments.ablation"

SWITCHES = "data=voc,small"

_LOG = logging.getLogger("hfpl_jax.ablation")


def options() -> flags.FlagValues:
    """Beside the recipe, whose loss weights are those of the cells that have the
    loss.
    """
    values = _of_methods()
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


def _of_methods() -> flags.FlagValues:
    """Those that say which recipes there are."""
    values = flags.FlagValues()
    flags.DEFINE_multi_string(
        "vary",
        [],
        "A variant of every cell, 'NAME: FIELD=VALUE ...'; several by several options.",
        values,
    )
    flags.DEFINE_list(
        "methods", [], "In place of --config: NAME stands for configs/NAME.py.", values
    )
    flags.DEFINE_string(
        "switches", None, f"Behind each of these recipes; {SWITCHES} if not given.", values
    )
    return values


def named_recipes(arguments: Sequence[str]) -> dict[str, str]:
    """Method -> the argument of --config that stands for it. Empty without --methods.

    Raises:
      InputError: a method has no recipe or is there twice, there is another recipe
        beside them, or an option has no value.
    """
    asked = _of_methods()
    asked.set_gnu_getopt(True)  # other options, and their values, may come first
    try:
        asked(["ablation", *arguments], known_only=True)
    except flags.Error as error:
        raise InputError(f"{error}. Correct that option; see --help.") from error
    methods, switches = asked["methods"].value, asked["switches"].value
    given = any(argument.split("=")[0] in ("--config", "-config") for argument in arguments)
    if not methods:
        if not given and not set(arguments) & set(program.HELP):
            raise InputError(
                "Neither --config nor --methods is there. Name a recipe, such as --config="
                f"configs/cam.py:{SWITCHES}, or those of several methods, such as "
                "--methods=cam,seam."
            )
        if switches is not None:
            raise InputError(
                f"--switches={switches} has no effect without --methods. Write --config=RECIPE:"
                f"{switches}, or name the methods."
            )
        return {}
    if twice := next((name for name in methods if methods.count(name) > 1), ""):
        raise InputError(f"--methods names {twice} twice. Name it once.")
    if given:
        raise InputError(
            "--methods stands for recipes of configs/, so --config has no place beside it. Leave "
            "out one of the two."
        )
    known = sorted(path.stem for path in pathlib.Path("configs").glob("*.py"))
    if unknown := [name for name in methods if name not in known]:
        raise InputError(
            f"--methods names {unknown[0]!r}, but there is no configs/{unknown[0]}.py"
            f"{in_brackets(did_you_mean(unknown[0], known))}. Name recipes of configs/ in the "
            "folder that the command is started in, such as cam,seam."
        )
    behind = f":{SWITCHES if switches is None else switches}".rstrip(":")
    return {name: f"configs/{name}.py{behind}" for name in methods}


def read(arguments: Sequence[str]) -> tuple[str, list[Recipe], flags.FlagValues] | None:
    """The name and the content of the recipes, and the other options; None if only help
    is asked for.

    Raises:
      InputError: an option, a field, a value or a recipe is not what it should be.
    """
    recipes, methods = [], named_recipes(arguments)
    for method, argument in (methods or {"": ""}).items():
        asked = options()
        given = [f"--config={argument}"] if argument else []
        typed = command_line.read([*given, *arguments], asked, PROGRAM)
        if typed is None:
            return None
        for variant, fields in variants(asked["vary"].value).items():
            varied = command_line.read([*given, *arguments, *fields], options(), PROGRAM)
            assert varied is not None  # that no help is asked for is known by now
            recipes.append(Recipe(method, load_recipe(typed[0]), varied[1], variant))
    if not methods:
        return typed[0], recipes, asked
    behind = typed[0].partition(":")[2]
    return f"configs/{{{','.join(methods)}}}.py{':' * bool(behind)}{behind}", recipes, asked


def write(workdir: pathlib.Path, study: Mapping, *, varied: bool) -> str:
    """Writes the results so far, and no figure of what is varied; returns the tables."""
    results = study["runs"]
    shown = (tables.losses(results), tables.differences(results), tables.instances(results))
    text = tables.variants(results) if varied else "\n".join(filter(None, shown))
    atomic.atomic_write(workdir / "results.json", json.dumps(study, indent=1) + "\n")
    atomic.atomic_write(workdir / "table.md", text)
    if not varied and (page := figure(results)):
        with atomic.atomic_path(workdir / "figure.png") as temporary:
            page.savefig(temporary, format="png", dpi=130)
    return text


def main(arguments: Sequence[str]) -> None:
    """`arguments` lack the program's name."""
    console.set_up()
    try:
        command = read(arguments)
        if command is None:
            return
        name, recipes, asked = command
        workdir = pathlib.Path(asked["workdir"].value).absolute()
        chosen, until = asked["cells"].value, asked["until"].value
        varied = bool(asked["vary"].value)
        stages = pipeline.stage_names()[: 1 + pipeline.stage_names().index(until)]
        if unknown := set(chosen) - CELLS.keys():
            raise InputError(
                f"Unknown cells {sorted(unknown)} in --cells. Known are {', '.join(CELLS)}."
            )
        if not chosen:
            raise InputError(f"--cells names none. Choose from {', '.join(CELLS)}.")
        chosen = [cell for cell in CELLS if cell in chosen]
        cells.check_cells(recipes, chosen, stages)
        allocator.spare_memory()
        cache = recipes[0].typed.run.compilation_cache or os.fspath(workdir / "compilation_cache")
        jax.config.update("jax_compilation_cache_dir", cache)
        results: dict[str, dict[str, Mapping]] = {}
        manifests: list[dict] = []
        for seed in range(asked["seeds"].value):
            for recipe in recipes:
                for cell in chosen:
                    row = recipe.row(cell)
                    _LOG.info("%s, seed %d", row, seed)
                    folder = recipe.folder(workdir, cell, seed)
                    run = cells.run_cell(recipe.config(cell, seed, workdir), folder, stages)
                    results.setdefault(row, {})[str(seed)] = run
                    manifests += [
                        pipeline.read_manifest(folder / stage) for stage in run["seconds"]
                    ]
                    made_of = facts(name, [recipe.typed for recipe in recipes], manifests)
                    text = write(workdir, {**made_of, "runs": results}, varied=varied)
            print(f"{text}\n{tables.notices(results)}")
        if not varied:
            atomic.atomic_write(workdir / "pictures.png", pictures(workdir, recipes, chosen))
    except InputError as error:
        print(f"\nablation: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
