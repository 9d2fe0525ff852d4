"""The table of what all stages took."""

from collections.abc import Mapping


def table(runs: Mapping[str, Mapping[str, Mapping]]) -> str:
    """A row a stage and run: its time, the memory of the larger process by a quarter of
    the time, by half of it and at the end, and what it leaves on disk.
    """
    lines = [
        "| photographs | stage | seconds | CPU seconds | MB of memory by 1/4 | by 1/2 | at most "
        "| MB on disk | kept at the kill |",
        "|---" * 9 + "|",
    ]
    for by_seed in runs.values():
        for run in by_seed.values():
            figures, count = run["figures"], f"{run['figures']['photographs']:,}"
            for stage, seconds in run["seconds"].items():
                memory = (figures[f"{stage}/{name}"] for name in ("mb_quarter", "mb_half", "mb"))
                cells = [
                    count,
                    stage,
                    f"{seconds:.0f}",
                    f"{figures[f'{stage}/cpu_s']:.0f}",
                    *(f"{each:.0f}" for each in memory),
                    f"{figures[f'{stage}/mb_disk']:.1f}",
                    f"{kept:,}" if (kept := figures.get(f"{stage}/kept")) is not None else "",
                ]
                lines.append(f"| {' | '.join(cells)} |")
                count = ""
            total = sum(run["seconds"].values())
            lines.append(f"| | all | {total:.0f} | | | | | | |")
    return "\n".join(lines) + "\n"
