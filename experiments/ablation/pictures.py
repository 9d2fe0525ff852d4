"""Photographs, their masks, and what each row of an ablation makes of them: the paper's
Figure 5.
"""

import pathlib
from collections.abc import Sequence

from experiments.ablation.cells import Recipe
from hfpl_jax import pipeline
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.masks import label_map
from hfpl_jax.report.grid import grid_png
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.stages.report import chosen, tile

PHOTOGRAPHS = 5


def pictures(workdir: pathlib.Path, recipes: Sequence[Recipe], cells: Sequence[str]) -> bytes:
    """A PNG of the masks of all rows with seed 0, whose CAMs are scored: of val where
    there is one, else of the labelled split. The strongest CAM of a pixel is its label
    where it exceeds the run's own threshold.
    """
    columns = {}
    for recipe in recipes:
        for cell in cells:
            run = recipe.folder(workdir, cell, 0)
            context = pipeline.run(recipe.config(cell, 0, workdir), run, ["data"])
            split = context.roles.get("val", context.label_split)
            pairs = Pairs(context, "cams", split)
            pairs.sort()
            columns[recipe.row(cell)] = pairs, read_metrics(run / "metrics")["threshold"]
    photographs = context.dataset.split(split)

    def mask(pairs: Pairs, threshold: float, index: int):
        record = CamRecord.decode(pairs.known(index)[0])
        return label_map(record.cams, record.classes, threshold=threshold)

    tiles = [
        tile(
            photographs[index],
            {row: mask(*column, index) for row, column in columns.items()},
            context.dataset.class_names,
        )
        for index in chosen(photographs, PHOTOGRAPHS)
    ]
    return grid_png(tiles, class_names=context.dataset.class_names)
