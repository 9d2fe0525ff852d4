"""The table of what all stages took."""

from collections.abc import Mapping

COLUMNS = (
    "photographs",
    "stage",
    "seconds",
    "CPU seconds",
    "MB of memory in 1/4 of the time",
    "in 1/2",
    "in all",
    "kB more a photograph",
    "MB on disk",
    "kept at the kill",
)


def table(runs: Mapping[str, Mapping[str, Mapping]]) -> str:
    """A row a stage and run. The memory is the most that the larger process had; what it
    is more a photograph is the difference from the first run.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    found = [run for by_seed in runs.values() for run in by_seed.values()]
    for run in found:
        figures, seconds = run["figures"], run["seconds"]
        shown = f"{figures['photographs']:,}"
        for stage in seconds:
            cells = [shown, stage, *_cells(stage, figures, seconds, found[0]["figures"])]
            lines.append(f"| {' | '.join(cells)} |")
            shown = ""
        cpu = sum(figures[f"{stage}/cpu_s"] for stage in seconds)
        disk = sum(figures[f"{stage}/mb_disk"] for stage in seconds)
        all_of_it = ["", "all", f"{sum(seconds.values()):.0f}", f"{cpu:.0f}", *[""] * 4]
        lines.append(f"| {' | '.join([*all_of_it, f'{disk:.1f}', ''])} |")
    return "\n".join(lines) + "\n"


def _cells(
    stage: str,
    figures: Mapping[str, float],
    seconds: Mapping[str, float],
    first: Mapping[str, float],
) -> list[str]:
    memory = [figures[f"{stage}/{name}"] for name in ("mb_quarter", "mb_half", "mb")]
    more, grown = figures["photographs"] - first["photographs"], memory[-1] - first[f"{stage}/mb"]
    kept = figures.get(f"{stage}/kept")
    return [
        f"{seconds[stage]:.0f}",
        f"{figures[f'{stage}/cpu_s']:.0f}",
        *(f"{each:.0f}" for each in memory),
        f"{1000 * grown / more:.1f}" if more else "",
        f"{figures[f'{stage}/mb_disk']:.1f}",
        "" if kept is None else f"{kept:,}",
    ]
