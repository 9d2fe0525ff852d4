"""The figures of the report as SVG: loss curves, threshold curve, bars of each
class.
"""

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLOURS = ("#2563eb", "#ea580c", "#059669", "#9333ea", "#475569")
INK, FAINT, GRID = "#1c2430", "#7b8694", "#e6e9ee"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "svg.hashsalt": "hfpl_jax",
}
CLASSES_PER_COLUMN = 27


def _svg(figure: Any) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue().decode()
    return text[text.index("<svg") :]  # inside HTML there is no XML prologue


def _styled(**style: Any) -> contextlib.AbstractContextManager:
    import matplotlib  # takes a third of a second, which no other stage has to wait for

    return matplotlib.rc_context({**STYLE, **style})


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def loss_curves(history: Sequence[Mapping[str, float]]) -> str | None:
    """A small panel for each logged quantity over the steps: every value faintly, a
    running mean boldly; None without any.

    Args:
      history: rows of the log, each with `step` and any of the quantities; what is not
        a finite number is left out.
    """
    series: dict[str, list[tuple[float, float]]] = {}
    for row in history:
        for name, value in row.items():
            if (
                name != "step"
                and "step" in row
                and isinstance(value, int | float)
                and math.isfinite(value)
            ):
                series.setdefault(name, []).append((row["step"], float(value)))
    if not series:
        return None
    with _styled():
        columns = len(series) if len(series) <= 4 else 3
        rows = -(-len(series) // columns)
        figure = _figure(3.2 * columns, 2.3 * rows)
        for i, (name, points) in enumerate(series.items()):
            axes = figure.add_subplot(rows, columns, i + 1)
            steps, values = np.array(points).T
            axes.plot(steps, values, color=COLOURS[0], alpha=0.3, linewidth=0.8)
            axes.plot(steps, running_mean(values), color=COLOURS[0], linewidth=1.8)
            axes.set_title(name)
            if i >= len(series) - columns:
                axes.set_xlabel("step")
        return _svg(figure)


def running_mean(values: np.ndarray) -> np.ndarray:
    """The mean over a centred window of about a twentieth of the curve, cut off at its
    ends.
    """
    half = len(values) // 40
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def threshold_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], threshold: float | None
) -> str | None:
    """mIoU in percent against the background threshold, a line for each split; the
    chosen threshold is marked on every line.
    """
    if not curves:
        return None
    with _styled():
        figure = _figure(6.4, 3.4)
        axes = figure.add_subplot()
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            note = {"textcoords": "offset points", "xytext": (5, -2), "va": "top"}
            axes.annotate(
                f"chosen: {threshold:.2f}",
                (threshold, 1),
                xycoords=("data", "axes fraction"),
                **note,
            )
        for (split, (thresholds, scores)), colour in zip(
            curves.items(), _cycle(len(curves)), strict=True
        ):
            percent = 100 * np.asarray(scores, np.float64)
            axes.plot(thresholds, percent, color=colour, linewidth=2, label=split)
            if threshold is not None:
                height = np.interp(threshold, thresholds, percent)
                axes.plot(
                    [threshold], [height], "o", color=colour, markeredgecolor="white", markersize=8
                )
        axes.set_xlabel("background threshold")
        axes.set_ylabel("mIoU, %")
        axes.margins(x=0.01, y=0.12)
        figure.legend(loc="outside upper left", ncols=len(curves))
        return _svg(figure)


def class_bars(per_class: Mapping[str, Mapping[str, float]]) -> str | None:
    """IoU in percent of each class, a bar for each split; many classes are set in
    several columns."""
    names = list(dict.fromkeys(name for values in per_class.values() for name in values))
    if not names:
        return None
    groups = [names[i : i + CLASSES_PER_COLUMN] for i in range(0, len(names), CLASSES_PER_COLUMN)]
    with _styled(**{"axes.grid.axis": "x"}):
        pitch = 0.2 + 0.08 * len(per_class)
        figure = _figure(max(9.0, 3.8 * len(groups)), 0.9 + pitch * len(groups[0]))
        thickness = 0.78 / len(per_class)
        for column, group in enumerate(groups):
            axes = figure.add_subplot(1, len(groups), column + 1)
            for i, ((split, values), colour) in enumerate(
                zip(per_class.items(), _cycle(len(per_class)), strict=True)
            ):
                places = np.arange(len(group)) + (i - (len(per_class) - 1) / 2) * thickness
                lengths = [100 * values.get(name, 0.0) for name in group]
                axes.barh(places, lengths, height=0.9 * thickness, color=colour, label=split)
                for place, length, name in zip(places, lengths, group, strict=True):
                    text = f"{length:.0f}" if name in values else "-"
                    axes.text(length + 0.8, place, text, va="center", fontsize=7, color=FAINT)
            axes.set_yticks(range(len(group)), group, color=INK)
            axes.set_ylim(len(groups[0]) - 0.5, -0.5)
            axes.set_xlim(0, 100)
            axes.tick_params(length=0)
            axes.set_xlabel("IoU, %")
        if len(per_class) > 1:
            figure.legend(
                *figure.axes[0].get_legend_handles_labels(),
                loc="outside upper left",
                ncols=len(per_class),
            )
        return _svg(figure)


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
