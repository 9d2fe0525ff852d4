"""The cells of an ablation: a recipe without the losses, with one and with both."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from hfpl_jax import pipeline
from hfpl_jax.errors import InputError
from hfpl_jax.runtime.stage_json import read_stage_json
from hfpl_jax.settings import check
from hfpl_jax.stages.context import prefix
from hfpl_jax.stages.fields import check_read
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.notices import NOTICES
from hfpl_jax.stages.scoring import METRICS_FILE

CELLS = {"GAP": (False, False), "+ISL": (True, False), "+FSL": (False, True), "+both": (True, True)}
"""Name -> (importance sampling loss, feature similarity loss)."""

BASELINE, BOTH = "GAP", "+both"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the cells are made of.

    Attributes:
      method: its name in the rows; "" where there is one recipe alone.
      as_written: the configuration that its file returns.
      typed: the same with the fields that were typed, and those of the variant.
      variant: its name in the rows; "" where there are none.
    """

    method: str
    as_written: ConfigDict
    typed: ConfigDict
    variant: str = ""

    def row(self, cell: str) -> str:
        """The name of a cell's row, which `method_and_cell` takes apart."""
        return ", ".join(filter(None, (self.method, self.variant, cell)))

    def folder(self, workdir: pathlib.Path, cell: str, seed: int) -> pathlib.Path:
        """Where a run has its stages. All variants have one: what they have in common
        is done once, and of what differs only trainings stay when the next one comes.
        """
        words = [word.strip("+").lower() for word in (self.method, cell) if word]
        return workdir / "-".join([*words, str(seed)])

    def config(self, cell: str, seed: int, workdir: pathlib.Path) -> ConfigDict:
        """The recipe with a cell's losses and seed; dataset, stored features and
        compiled programs are shared by all cells.
        """
        isl, fsl = CELLS[cell]
        config = self.typed.copy_and_resolve_references()
        with config.unlocked():
            config.seed = seed
            config.hfpl.isl_weight = self.typed.hfpl.isl_weight if isl else 0.0
            config.hfpl.fsl_weight = self.typed.hfpl.fsl_weight if fsl else 0.0
            config.data.directory = self.typed.data.directory or os.fspath(workdir / "data")
            config.run.features = self.typed.run.features or os.fspath(workdir / "features")
            config.run.compilation_cache = self.typed.run.compilation_cache or os.fspath(
                workdir / "compilation_cache"
            )
        return config


def method_and_cell(row: str) -> tuple[str, str]:
    """("seam", "GAP") of the row "seam, GAP", ("", "GAP") of "GAP"; a variant is part of
    the method.
    """
    method, _, cell = row.rpartition(", ")
    return method, cell


def check_cells(recipes: Sequence[Recipe], cells: Sequence[str], stages: Sequence[str]) -> None:
    """Raises InputError for what no cell could be run with, or would read.

    Args:
      recipes: whose cells are run.
      cells: names of the cells.
      stages: names of those to run.
    """
    configs = [recipe.config(cell, 0, pathlib.Path()) for recipe in recipes for cell in cells]
    for config in configs:
        check(config, stages)
    for recipe in recipes:
        if recipe.typed.seed != recipe.as_written.seed:
            raise InputError(
                f"config.seed = {recipe.typed.seed} has no effect: every cell is run with the "
                "seeds 0, 1, ... Say how many with --seeds."
            )
        check_read(recipe.typed, recipe.as_written, pipeline.all_stages(), configs)
        _check_weights(recipe, cells)


def _check_weights(recipe: Recipe, cells: Sequence[str]) -> None:
    """That a cell has its losses, and that a loss whose weight was typed has a cell."""
    for index, field in enumerate(("isl_weight", "fsl_weight")):
        weight, as_written = recipe.typed.hfpl[field], recipe.as_written.hfpl[field]
        with_loss = [cell for cell in cells if CELLS[cell][index]]
        if with_loss and not weight:
            raise InputError(
                f"config.hfpl.{field} = 0 leaves the cell {with_loss[0]} without that loss. Set "
                "it above 0, or leave the cell out of --cells."
            )
        if not with_loss and weight != as_written:
            raise InputError(
                f"config.hfpl.{field} = {weight!r} has no effect: of the cells {', '.join(cells)} "
                "none has that loss. Add one that has it to --cells, or leave the field at the "
                f"recipe's {as_written!r}."
            )


def run_cell(config: ConfigDict, folder: pathlib.Path, stages: Sequence[str]) -> Mapping:
    """The figures of a cell, the seconds its stages took (of an interrupted stage,
    since it was resumed; but for data and features, which all cells share), and what to
    know before one trusts them. The stages are those of every round; figures of masks
    of a later one are those of "segmentation of round 2".
    """
    asked = [
        stage
        for stage in pipeline.stages_of(config)
        if stage.name.removeprefix(prefix(stage.round)) in stages
    ]
    notices = pipeline.run(config, folder, [stage.name for stage in asked]).notices
    figures, seconds = read_metrics(folder / "metrics"), {}
    for stage in asked:
        if stage.name in ("data", "features"):
            continue
        seconds[stage.name] = pipeline.read_manifest(folder / stage.name)["seconds"]
        if (folder / stage.name / METRICS_FILE).exists():
            found = read_stage_json(folder / stage.name / METRICS_FILE)
            figures |= found if stage.round == 1 else _of_round(stage.round, found)
    figures.pop(NOTICES, None)
    return {"figures": figures, "seconds": seconds, "notices": list(notices)}


def _of_round(number: int, figures: Mapping[str, float]) -> dict[str, float]:
    """`{role}/{kind}/{figure}` of masks, with the round in the kind's name."""
    parts = [(name.split("/", 2), value) for name, value in figures.items() if "/" in name]
    return {
        f"{role}/{kind} of round {number}/{figure}": value for (role, kind, figure), value in parts
    }
