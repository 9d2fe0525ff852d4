"""Tables of an ablation's runs: their figures, and what both losses change in each."""

import statistics
from collections.abc import Mapping, Sequence

from scipy import stats

from experiments.ablation.cells import BASELINE, BOTH, method_and_cell
from hfpl_jax.metrics.tables import MEANS

Results = Mapping[str, Mapping[str, Mapping]]
"""Row -> seed -> run, as `cells.run_cell` returns it."""

FIGURES = {
    "mIoU": "miou",
    "contour F": "contour_f_present",
    "contour F, 255 ignored": "contour_f_ignoring_255",
}
"""Column -> figure of metrics.json; means over the classes that occur, as a part of a
dataset may lack some.
"""

ROLES = ("train", "val")

DIFFERENCES = {
    f"{role} {name}": f"{role}/cam/{FIGURES[name]}"
    for role in ROLES
    for name in ("mIoU", "contour F")
}
"""Column -> figure of the CAMs."""

INSTANCES = {
    f"{role} {name}": f"{role}/instances/{figure}"
    for role in ROLES
    for name, figure in zip(
        ("mAP 0.25", "0.5", "0.75", "pointing"), (*MEANS, "pointing"), strict=True
    )
}
"""Column -> figure of the instances, where they are looked for."""


def mean_and_spread(values: Sequence[float], signed: str = "") -> str:
    """In percent: mean, and sample standard deviation where there are several values;
    with `signed` = "+", the sign of a mean above 0 too.
    """
    mean = f"{100 * statistics.fmean(values):{signed}.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def losses(results: Results) -> str:
    """Markdown: a row a cell and kind of masks, mean ± standard deviation over the
    seeds.
    """
    columns = [f"{role} {name}" for role in ROLES for name in FIGURES]
    lines = _head(["losses", "masks", *columns, "threshold", "minutes"])
    for row, by_seed in results.items():
        runs = list(by_seed.values())
        thresholds = ", ".join(f"{run['figures']['threshold']:.2f}" for run in runs)
        minutes = statistics.fmean(sum(run["seconds"].values()) for run in runs) / 60
        found = dict.fromkeys(key for run in runs for key in run["figures"] if "/" in key)
        for kind in dict.fromkeys(key.split("/")[1] for key in found):
            keys = [f"{role}/{kind}/{key}" for role in ROLES for key in FIGURES.values()]
            if any(key in run["figures"] for key in keys for run in runs):
                figures = [
                    [run["figures"][key] for run in runs if key in run["figures"]] for key in keys
                ]
                cells = [mean_and_spread(values) if values else "" for values in figures]
                lines.append(
                    _line([row, kind.replace("_", " "), *cells, thresholds, f"{minutes:.1f}"])
                )
    return "\n".join(lines) + "\n"


def variants(results: Results) -> str:
    """Markdown: a row a variant and kind of masks, mean ± standard deviation over the
    seeds, and the minutes of its stages: of kinds and stages those that are not the
    same in all rows.
    """
    runs = [run for by_seed in results.values() for run in by_seed.values()]
    stages = _differing(results, [run["seconds"] for run in runs], "seconds")
    keys = _differing(results, [run["figures"] for run in runs], "figures")
    kinds = dict.fromkeys(key.split("/")[1] for key in keys if "/" in key)
    figures = {f"{role} {name}": (role, FIGURES[name]) for role in ROLES for name in FIGURES}
    lines = _head(["variant", "masks", *figures, *(f"minutes of {stage}" for stage in stages)])
    for row, by_seed in results.items():
        for kind in kinds:
            columns = [f"{role}/{kind}/{figure}" for role, figure in figures.values()]
            found = [
                [run["figures"][key] for run in by_seed.values() if key in run["figures"]]
                for key in columns
            ]
            minutes = [
                [run["seconds"][stage] / 60 for run in by_seed.values() if stage in run["seconds"]]
                for stage in stages
            ]
            if any(found):
                cells = [mean_and_spread(values) if values else "" for values in found]
                times = [f"{statistics.fmean(each):.1f}" if each else "" for each in minutes]
                lines.append(_line([row, kind.replace("_", " "), *cells, *times]))
    return "\n".join(lines) + "\n"


def _differing(results: Results, parts: Sequence[Mapping], part: str) -> list[str]:
    """The names in a part of the runs whose values are not those of every row with the
    same seed; all of them where there is one row.
    """
    names = dict.fromkeys(name for found in parts for name in found)

    def same(name: str) -> bool:
        rows = [
            {seed: run[part].get(name) for seed, run in by_seed.items()}
            for by_seed in results.values()
        ]
        return len(rows) > 1 and all(row[seed] == rows[0].get(seed) for row in rows for seed in row)

    return [name for name in names if not same(name)]


def differences(results: Results) -> str:
    """Markdown: a row a method, what both losses add to the figures of its CAMs: the
    mean over the seeds of the difference within a seed, its standard deviation, and in
    how many seeds the figure rises. "" where no seed has both cells.
    """
    lines = []
    for method, cells in by_method(results).items():
        columns = []
        for gains in _gains(cells, BOTH):
            rising = sum(gain > 0 for gain in gains)
            columns.append(
                f"{mean_and_spread(gains, '+')} ({rising} of {len(gains)})" if gains else ""
            )
        if any(columns):
            lines.append(_line([method or "both losses", *columns]))
    return "\n".join([*_head(["both losses add", *DIFFERENCES]), *lines]) + "\n" if lines else ""


def intervals(results: Results) -> str:
    """Markdown: a row a cell, what its losses add to the figures of the CAMs of the cell
    without: the mean over the seeds of the difference within a seed, and the interval
    that holds it with a confidence of 95 % (Student's t). "" where no cell has two seeds
    in common with the one without.
    """
    lines = []
    for method, cells in by_method(results).items():
        for cell in (cell for cell in cells if cell != BASELINE):
            columns = [_interval(gains) if len(gains) > 1 else "" for gains in _gains(cells, cell)]
            if any(columns):
                lines.append(_line([", ".join(filter(None, (method, cell))), *columns]))
    return "\n".join([*_head(["losses", *DIFFERENCES]), *lines]) + "\n" if lines else ""


def _gains(cells: Mapping[str, Mapping[str, Mapping]], cell: str) -> list[list[float]]:
    """Of each of `DIFFERENCES` what a cell has more than the one without losses, in every
    seed that both have.
    """
    pairs = [
        (cells[BASELINE][seed]["figures"], run["figures"])
        for seed, run in cells.get(cell, {}).items()
        if seed in cells.get(BASELINE, {})
    ]
    return [
        [after[key] - before[key] for before, after in pairs if key in before]
        for key in DIFFERENCES.values()
    ]


def _interval(gains: Sequence[float]) -> str:
    """ "+1.0 (0.5 to 1.5)" of values in [0, 1]."""
    mean, half = statistics.fmean(gains), stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
    return f"{100 * mean:+.1f} ({100 * (mean - half):.1f} to {100 * (mean + half):.1f})"


def instances(results: Results) -> str:
    """Markdown: a row a cell, the average precision of its instances and the pointing
    accuracy of their peaks. "" where no run has any that are scored.
    """
    lines = []
    for row, by_seed in results.items():
        runs = [run["figures"] for run in by_seed.values()]
        found = [[run[key] for run in runs if key in run] for key in INSTANCES.values()]
        if any(found):
            lines.append(_line([row, *(mean_and_spread(each) if each else "" for each in found)]))
    return "\n".join([*_head(["losses", *INSTANCES]), *lines]) + "\n" if lines else ""


def by_method(results: Results) -> dict[str, dict[str, Mapping[str, Mapping]]]:
    """Method -> cell -> seed -> run, in the order of the rows."""
    methods: dict[str, dict[str, Mapping[str, Mapping]]] = {}
    for row, by_seed in results.items():
        method, cell = method_and_cell(row)
        methods.setdefault(method, {})[cell] = by_seed
    return methods


def notices(results: Results) -> str:
    """A line for everything to know before one trusts the table."""
    return "".join(
        f"Notice, {row}, seed {seed}: {notice}\n"
        for row, by_seed in results.items()
        for seed, run in by_seed.items()
        for notice in run["notices"]
    )


def _head(columns: Sequence[str]) -> list[str]:
    return [_line(columns), "|---" * len(columns) + "|"]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
