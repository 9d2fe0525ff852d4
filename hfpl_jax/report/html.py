"""The page report.html: everything in one file that opens in any browser, without a
network.
"""

import html
import os
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from hfpl_jax.metrics.instance_precision import IOUS
from hfpl_jax.metrics.tables import APS, MEANS
from hfpl_jax.report.curves import class_bars, loss_curves, threshold_curves
from hfpl_jax.report.grid import grid_png
from hfpl_jax.report.rows import rows_of_panels
from hfpl_jax.report.style import STYLE
from hfpl_jax.report.tiles import Picture
from hfpl_jax.runtime.atomic import atomic_write

HEADLINES = {
    "miou": "mIoU",
    "miou_all_background": "mIoU if everything were background",
    "miou_at_own_best_threshold": "mIoU at the split's own best threshold",
    "own_best_threshold": "the split's own best threshold",
    "contour_f": "contour F as published (an absent class counts 1)",
    "contour_f_present": "contour F",
    "contour_f_ignoring_255": "contour F, ignoring 255",
    **{name: f"mAP at IoU {iou:.2f}" for name, iou in zip(MEANS, IOUS, strict=True)},
    "pointing": "pointing accuracy",
}
PERCENT = (
    "miou",
    "miou_all_background",
    "miou_at_own_best_threshold",
    "iou",
    "contour_f",
    "contour_f_present",
    "contour_f_ignoring_255",
    *MEANS,
    *APS,
    "pointing",
)
"""Figures shown in percent; any other is shown as it is."""


def write_report(
    directory: str | os.PathLike,
    *,
    title: str,
    notices: Sequence[str],
    class_names: Sequence[str],
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    threshold: float | None,
    per_class: Mapping[str, Mapping[str, float]],
    pictures: Sequence[Picture],
    metrics: Mapping[str, float],
    rounds: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> pathlib.Path:
    """Writes `report.html`, a self-contained page, and each of its pictures as a PNG; a
    part without content is left out.

    Args:
      directory: where all files go; made if absent.
      title: the heading.
      notices: sentences to read before anything else.
      class_names: the foreground classes; label i is class_names[i - 1].
      facts: what to know about the run, in the order to show: configuration, threshold
        rule, where the image labels came from.
      history: rows of the training log, each with `step` and the losses.
      curves: split -> (background thresholds, mIoU at each, in [0, 1]).
      threshold: the chosen background threshold, marked on the curves; None marks
        nothing.
      per_class: split -> class -> IoU in [0, 1].
      pictures: photographs and what was made of them.
      metrics: `{split}/{kind}/{figure}` -> value, as `metrics.tables.flat_metrics`
        names them.
      rounds: round -> `{split}/{kind}` -> mIoU in [0, 1].

    Returns:
      The path of report.html.

    Raises:
      InputError: a file cannot be written.
    """
    directory = pathlib.Path(directory)
    losses = _section("Training", loss_curves(history))
    sweep = _section("Background threshold", threshold_curves(curves, threshold))
    figures = _section("Figures", _metric_tables(metrics))
    bars = _section("Classes", class_bars(per_class))
    body = [
        f"<h1>{html.escape(title)}</h1>",
        _notices(notices),
        _cards(metrics),
        _section("mIoU of the rounds", _rounds(rounds)),
        *(_section(shown.heading, rows_of_panels(shown.tiles, class_names)) for shown in pictures),
        f'<div class="halves">{sweep}{figures}</div>' if sweep and figures else sweep + figures,
        _section("The run", _facts(facts)),
        losses,
        bars,
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )
    for shown in pictures:
        atomic_write(directory / shown.file_name, grid_png(shown.tiles, class_names=class_names))
    atomic_write(directory / "report.html", page)
    return directory / "report.html"


def _section(heading: str, content: str | None) -> str:
    return f"<section><h2>{html.escape(heading)}</h2>{content}</section>" if content else ""


def _notices(notices: Sequence[str]) -> str:
    sentences = "".join(f"<p>{html.escape(notice)}</p>" for notice in notices)
    return (
        f'<section class="notices" role="alert"><h2>Read this first</h2>{sentences}</section>'
        if notices
        else ""
    )


def _cards(metrics: Mapping[str, float]) -> str:
    cards = []
    for name, value in metrics.items():
        prefix, _, figure = name.rpartition("/")
        if figure in ("miou", "contour_f_present"):
            cards.append(
                f'<div class="card"><b>{100 * value:.1f}</b>'
                f"<span>{html.escape(prefix)} {HEADLINES[figure]}, %</span></div>"
            )
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _metric_tables(metrics: Mapping[str, float]) -> str | None:
    """Figures as rows and splits as columns; those of each class folded away."""
    overall: dict[str, dict[str, float]] = {}
    classes: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        parts = name.split("/", 3)
        prefix, figure = (
            ("/".join(parts[:2]), parts[2]) if len(parts) > 2 else ("/".join(parts[:-1]), parts[-1])
        )
        if len(parts) == 4:
            classes.setdefault(parts[3], {})[f"{prefix} {figure}"] = value
        else:
            overall.setdefault(figure, {})[prefix] = value
    if not overall and not classes:
        return None
    rows = {
        HEADLINES.get(figure, figure.replace("_", " ")): {
            prefix: _number(figure, value) for prefix, value in values.items()
        }
        for figure, values in overall.items()
    }
    text = _table("", rows) if rows else ""
    if classes:
        detail = {
            name: {key: _number(key.rpartition(" ")[2], value) for key, value in values.items()}
            for name, values in classes.items()
        }
        text += f"<details><summary>Every class</summary>{_table('class', detail)}</details>"
    return text


def _number(figure: str, value: float) -> str:
    return f"{100 * value:.1f} %" if figure in PERCENT else f"{value:.4g}"


def _table(corner: str, rows: Mapping[str, Mapping[str, str]]) -> str:
    columns = list(dict.fromkeys(key for values in rows.values() for key in values))
    head = "".join(f'<th class="number">{html.escape(column)}</th>' for column in columns)
    lines = [f"<tr><th>{corner}</th>{head}</tr>"]
    for name, values in rows.items():
        cells = "".join(f'<td class="number">{values.get(column, "-")}</td>' for column in columns)
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _rounds(rounds: Mapping[str, Mapping[str, float]]) -> str | None:
    rows = {
        name: {kind: _number("miou", value) for kind, value in values.items()}
        for name, values in rounds.items()
    }
    return _table("", rows) if rows else None


def _facts(facts: Mapping[str, str]) -> str | None:
    if not facts:
        return None
    rows = "".join(
        f'<tr><th>{html.escape(name)}</th><td class="fact">{html.escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f"<table>{rows}</table>"
