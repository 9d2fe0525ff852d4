"""The page report.html: everything in one file that opens in any browser, without a
network.
"""

import base64
import html
import io
import os
import pathlib
from collections.abc import Mapping, Sequence

from PIL import Image

from hfpl_jax.atomic import atomic_write
from hfpl_jax.masks import voc_palette
from hfpl_jax.report.curves import class_bars, loss_curves, threshold_curves
from hfpl_jax.report.grid import grid_png
from hfpl_jax.report.tiles import PANELS, WHITISH, Tile, classes_shown, panels

PANEL_BOX = (440, 330)
HEADLINES = {
    "miou": "mIoU",
    "miou_all_background": "mIoU if everything were background",
    "miou_at_own_best_threshold": "mIoU at the split's own best threshold",
    "own_best_threshold": "the split's own best threshold",
    "contour_f": "contour F as published (an absent class counts 1)",
    "contour_f_present": "contour F",
    "contour_f_ignoring_255": "contour F, ignoring 255",
}
PERCENT = (
    "miou",
    "miou_all_background",
    "miou_at_own_best_threshold",
    "iou",
    "contour_f",
    "contour_f_present",
    "contour_f_ignoring_255",
)
"""Figures shown in percent; any other is shown as it is."""

STYLE = """
:root { --ink: #1c2430; --faint: #667181; --line: #e3e7ed; --paper: #f6f7f9; --accent: #2563eb; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 1.2rem; letter-spacing: -.01em; }
h2 { font-size: 1.05rem; margin: 0 0 .9rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 12px;
  padding: 1.2rem 1.4rem; margin: 0 0 1.2rem; }
svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr));
  gap: .9rem; margin: 0 0 1.2rem; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 12px;
  padding: .85rem 1.1rem; }
.card b { display: block; font-size: 1.75rem; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.card span { color: var(--faint); font-size: .84rem; }
.halves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr));
  gap: 1.2rem; align-items: start; margin: 0 0 1.2rem; }
.halves section { margin: 0; height: 100%; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .34rem .7rem .34rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--faint); font-weight: 500; }
tr:last-child > * { border-bottom: 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  padding-right: 0; padding-left: .9rem; }
td.fact { overflow-wrap: anywhere; white-space: pre-wrap; }
summary { cursor: pointer; color: var(--accent); margin-top: .8rem; font-size: .9rem; }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.1rem; margin: 0 0 1rem; font-size: .88rem; }
.chip { display: inline-block; width: .85em; height: .85em; border-radius: 3px;
  margin-right: .4em; vertical-align: -.06em; box-shadow: 0 0 0 1px rgba(0,0,0,.18); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 560px), 1fr));
  gap: 1.1rem 1.4rem; }
.tile { margin: 0; min-width: 0; }
.tile .row { display: grid; grid-template-columns: repeat(4, 1fr); gap: 6px; }
.tile .panel { background: #eef0f3; border-radius: 6px; aspect-ratio: 4 / 3; position: relative;
  display: grid; place-items: center; color: var(--faint); font-size: .8rem; }
.tile img { position: absolute; width: 100%; height: 100%; object-fit: contain;
  border-radius: 6px; transition: transform .12s; }
.tile .panel:hover { z-index: 1; }
.tile .panel:hover img { transform: scale(1.9); }
.tile .panel:first-child img { transform-origin: left center; }
.tile .panel:last-child img { transform-origin: right center; }
.tile figcaption { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .82rem;
  color: var(--faint); margin-top: .3rem; }
.tile figcaption span { color: var(--ink); }
.titles { color: var(--faint); font-size: .8rem; margin: 0 0 .3rem; }
.notices { background: #fff4e0; border: 2px solid #d97706; }
.notices p { margin: 0 0 .5rem; }
@media (max-width: 520px) { .tile .row { grid-template-columns: repeat(2, 1fr); } }
"""


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
    tiles: Sequence[Tile],
    metrics: Mapping[str, float],
) -> pathlib.Path:
    """Writes `report.html`, a self-contained page, and `grid.png`, its pictures alone;
    a part without content is left out.

    Args:
      directory: where both files go; made if absent.
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
      tiles: images to show.
      metrics: `{split}/{kind}/{figure}` -> value, as `metrics.tables.flat_metrics`
        names them.

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
        _section("Pictures", _pictures(tiles, class_names)),
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
    if tiles:
        atomic_write(directory / "grid.png", grid_png(tiles, class_names=class_names))
    atomic_write(directory / "report.html", page)
    return directory / "report.html"


def _section(heading: str, content: str | None) -> str:
    return f"<section><h2>{heading}</h2>{content}</section>" if content else ""


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


def _facts(facts: Mapping[str, str]) -> str | None:
    if not facts:
        return None
    rows = "".join(
        f'<tr><th>{html.escape(name)}</th><td class="fact">{html.escape(str(value))}</td></tr>'
        for name, value in facts.items()
    )
    return f"<table>{rows}</table>"


def _pictures(tiles: Sequence[Tile], class_names: Sequence[str]) -> str | None:
    if not tiles:
        return None
    palette = voc_palette()

    def chip(colour: Sequence[int], name: str) -> str:
        style = f"background:rgb{tuple(colour)}"
        return f'<span><i class="chip" style="{style}"></i>{html.escape(name)}</span>'

    legend = "".join(
        chip(palette[label].tolist(), class_names[label - 1]) for label in classes_shown(tiles)
    ) + chip(WHITISH, "ignored")
    figures = []
    for tile in tiles:
        row = "".join(
            _panel(name, panel) for name, panel in zip(PANELS, panels(tile, PANEL_BOX), strict=True)
        )
        caption = (
            f"{html.escape(tile.file_name)} <span>{html.escape(', '.join(tile.labels))}</span>"
        )
        figures.append(
            f'<figure class="tile"><div class="row">{row}</div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    order = f'<p class="titles">From left to right: {", ".join(PANELS)}.</p>'
    return f'{order}<div class="legend">{legend}</div><div class="tiles">{"".join(figures)}</div>'


def _panel(name: str, picture: Image.Image | None) -> str:
    if picture is None:
        return '<div class="panel">no mask</div>'
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    data = base64.b64encode(stream.getvalue()).decode()
    source = f"data:image/jpeg;base64,{data}"
    return f'<div class="panel"><img alt="{name}" title="{name}" src="{source}"></div>'
