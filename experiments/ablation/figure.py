"""mIoU against contour F, an arrow a method from the baseline to both losses: the paper's
Figure 1.
"""

import statistics
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.ablation.cells import BASELINE, BOTH
from experiments.ablation.tables import ROLES, Results, by_method

Point = tuple[float, float]

MARKERS = {"GAP": "o", "+ISL": "<", "+FSL": ">", "+both": "o"}
"""Where colours stand for methods."""


def figure(results: Results) -> Figure | None:
    """A panel for train and for val where it has masks: every run a dot, every cell its
    mean. Of one method each cell has a colour; of several each method has one, the
    baseline is hollow, and triangles are the cells with one loss. None where nothing was
    scored.
    """
    methods = by_method(results)
    panels = {role: _points(methods, role) for role in ROLES}
    panels = {role: points for role, points in panels.items() if points}
    if not panels:
        return None
    page = Figure(figsize=(4.5 * len(panels), 4), layout="constrained")
    FigureCanvasAgg(page)
    for axes, (role, points) in zip(
        page.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for number, (method, cells) in enumerate(points.items()):
            means = {
                cell: _draw(axes, found, method, cell, f"C{number}" if method else None)
                for cell, found in cells.items()
            }
            if method:
                axes.plot([], [], "o", markersize=9, color=f"C{number}", label=method)
            if means.keys() >= {BASELINE, BOTH}:
                axes.annotate(
                    "",
                    means[BOTH],
                    means[BASELINE],
                    arrowprops={"arrowstyle": "->", "color": f"C{number}" if method else "0.4"},
                )
        if "" not in points:
            for cell in dict.fromkeys(cell for found in points.values() for cell in found):
                axes.plot([], [], color="0.4", label=cell, **_look(cell))
        axes.set(title=f"{role} CAMs", xlabel="mIoU (%)", ylabel="contour F (%)")
        axes.grid(alpha=0.2)
        axes.legend(frameon=False)
    return page


def _draw(axes: Axes, found: list[Point], method: str, cell: str, colour: str | None) -> Point:
    """The dots of a cell; returns their mean."""
    x, y = zip(*found, strict=True)
    mean = statistics.fmean(x), statistics.fmean(y)
    (dots,) = axes.plot(x, y, "o", markersize=4, alpha=0.4, color=colour)
    look = _look(cell) if method else {"marker": "o", "markersize": 9, "label": cell}
    axes.plot(*mean, color=dots.get_color(), **look)
    return mean


def _look(cell: str) -> dict[str, Any]:
    """Of a cell's mean, where its colour says the method."""
    hollow = {"markerfacecolor": "white"} if cell == BASELINE else {}
    return {"marker": MARKERS[cell], "markersize": 9, "linestyle": "", **hollow}


def _points(
    methods: Mapping[str, Mapping[str, Mapping]], role: str
) -> dict[str, dict[str, list[Point]]]:
    """Method -> cell -> the CAMs' mIoU and contour F in percent, of the runs that have
    them: a split may have no masks.
    """
    found = {
        method: {
            cell: points
            for cell, by_seed in cells.items()
            if (points := [at for run in by_seed.values() if (at := _point(run, role))])
        }
        for method, cells in methods.items()
    }
    return {method: cells for method, cells in found.items() if cells}


def _point(run: Mapping, role: str) -> Point | None:
    x, y = (run["figures"].get(f"{role}/cam/{key}") for key in ("miou", "contour_f_present"))
    return None if x is None or y is None else (100 * x, 100 * y)
