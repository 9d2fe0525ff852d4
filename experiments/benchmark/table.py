"""The table of a run of the benchmark, for the pages."""

import pathlib
from collections.abc import Mapping, Sequence

from experiments.results import read_object, wrapped
from hfpl_jax.errors import InputError

COLUMNS = (
    "piece",
    "ours",
    "reference",
    "speedup",
    "at the machine's rates",
    "MB",
    "reference's MB",
)


def table(runs: Sequence[Mapping]) -> str:
    """A row a piece; what is given are files that the benchmark wrote. "At the machine's
    rates" is how long the counted arithmetic or traffic takes as a matrix product or a
    copy, which is no bound where arrays stay in caches.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name, entry in (item for run in runs for item in run["pieces"].items()):
        shares = [entry[key] for key in ("share_of_matmul", "share_of_copy") if key in entry]
        cells = (
            name,
            _milliseconds(entry["ours_s"]),
            f"{_milliseconds(entry['reference_s'])} ({entry['reference']})",
            f"{entry['speedup']:.2f}",
            _milliseconds(max(shares) * entry["ours_s"]) if shares else "",
            f"{entry['peak_mb']:.0f}",
            f"{entry['reference_peak_mb']:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read(path: pathlib.Path) -> dict:
    """What the benchmark wrote.

    Raises:
      InputError: the file is missing, or another's.
    """
    content = read_object(path)
    if missing := {"made_by", "machine", "pieces"} - content.keys():
        raise InputError(
            f"{path} lacks {', '.join(sorted(missing))}. Take the file as `python -m "
            "experiments.benchmark` wrote it."
        )
    return content


def source(name: str, content: Mapping, link: str) -> str:
    """The sentence under the table: what its figures were made with."""
    made, machine = content["made_by"], content["machine"]
    return wrapped(
        f"[{name}.json]({link}): commit {made['commit']}; {made['machine']}, {made['devices']}, "
        f"JAX {made['jax']}; matrix product {machine['flops_per_s'] / 1e9:.0f} GFLOP/s, copy "
        f"{machine['bytes_per_s'] / 1e9:.1f} GB/s; {made['date']}."
    )


def _milliseconds(seconds: float) -> str:
    """With three digits, or as many as stand before the point."""
    milliseconds = 1e3 * seconds
    return f"{milliseconds:.{max(0, 3 - len(str(int(milliseconds))))}f} ms"
