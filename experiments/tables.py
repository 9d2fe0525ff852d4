"""Writes the tables of the pages from the studies' results.

    python -m experiments.tables [--check]

A page, README.md or one in experiments/, holds a table between two lines,

    <!-- table losses: scenes -->
    <!-- end of table -->

which name its layout and the studies: here experiments/results/scenes.json. The layout
`pieces` is of a run of experiments.benchmark. With --check nothing is written, and the
status is 1 if a page is not what its studies give.
"""

import argparse
import os
import pathlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from experiments import few_shot, first_run
from experiments.ablation.tables import (
    differences,
    instances,
    intervals,
    losses,
    mean_and_spread,
    variants,
)
from experiments.benchmark import table as benchmark
from experiments.results import read, wrapped
from experiments.whole_coco.table import table as whole_coco
from hfpl_jax.errors import InputError
from hfpl_jax.runtime import atomic

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = "experiments/results"

_START = "<!-- table "
_TABLE = re.compile(
    rf"(?P<start>{_START}(?P<layout>\w+): (?P<studies>[\w/, ]+) -->\n)"
    rf"(?P<body>(?:(?!{_START}).)*?)(?P<end><!-- end of table -->)",
    re.DOTALL,
)

OVERVIEW = {"train mIoU": "train/cam/miou", "val mIoU": "val/cam/miou"} | {
    "val contour F": "val/cam/contour_f_present"
}


def overview(studies: Sequence[Mapping]) -> str:
    """The CAMs of several ablations, a row a study and its losses."""
    lines = [
        "| recipe | losses | " + " | ".join(OVERVIEW) + " |",
        "|---" * (len(OVERVIEW) + 2) + "|",
    ]
    for study in studies:
        for cell, by_seed in study["runs"].items():
            runs = list(by_seed.values())
            seeds = f"seed{'s' * (len(by_seed) > 1)} {', '.join(by_seed)}"
            recipe = f"`{study['config']}`, {seeds}"
            values = [
                [run["figures"][key] for run in runs if key in run["figures"]]
                for key in OVERVIEW.values()
            ]
            figures = [mean_and_spread(found) if found else "" for found in values]
            first = cell == next(iter(study["runs"]))
            lines.append("| " + " | ".join([recipe if first else "", cell, *figures]) + " |")
    return "\n".join(lines) + "\n"


def _each(table: Callable[[Mapping], str]) -> Callable[[Sequence[Mapping]], str]:
    return lambda studies: "\n".join(table(study["runs"]) for study in studies)


LAYOUTS: Mapping[str, Callable[[Sequence[Mapping]], str]] = MappingProxyType(
    {
        "losses": _each(losses),
        "differences": _each(differences),
        "instances": _each(instances),
        "intervals": _each(intervals),
        "variants": _each(variants),
        "ways": _each(first_run.summary),
        "stages": _each(whole_coco),
        "overview": overview,
        "shots": few_shot.table,
        "pieces": benchmark.table,
    }
)
"""Name -> from the studies to a table in Markdown."""


def made_with(name: str, study: Mapping, link: str) -> str:
    """The sentence under a table: what its figures were made with."""
    text = (
        f"[{name}.json]({link}): recipe `{study['config']}`, config hash {study['config_hash']}; "
        f"commit {study['commit']}; {study['machine']}; {study['date']}."
    )
    return wrapped(text)


SOURCES = MappingProxyType({"pieces": (benchmark.read, benchmark.source)})
"""Name -> how its files are read, and the sentence under its table, where they are no
studies.
"""


def written(text: str, page: pathlib.Path, root: pathlib.Path) -> str:
    """The text of a page with its tables as the studies give them.

    Raises:
      InputError: a marker is not understood, or a study cannot be read.
    """

    def table(match: re.Match) -> str:
        if match["layout"] not in LAYOUTS:
            raise InputError(
                f"{page} has a table with the layout {match['layout']}. Known are "
                f"{', '.join(LAYOUTS)}."
            )
        names = [name.strip() for name in match["studies"].split(",")]
        paths = [root / RESULTS / f"{name}.json" for name in names]
        read_one, source = SOURCES.get(match["layout"], (read, made_with))
        studies = [read_one(path) for path in paths]
        sources = [
            source(name, study, pathlib.Path(os.path.relpath(path, page.parent)).as_posix())
            for name, study, path in zip(names, studies, paths, strict=True)
        ]
        try:
            figures = LAYOUTS[match["layout"]](studies)
        except KeyError as error:
            raise InputError(
                f"{page}: the runs of {match['studies']} have no {error}, which the layout "
                f"{match['layout']} shows. Choose another of {', '.join(LAYOUTS)}."
            ) from error
        body = "\n".join([figures, "\n\n".join(sources)])
        return f"{match['start']}{body}\n{match['end']}"

    result, found = _TABLE.subn(table, text)
    if found != text.count(_START):
        raise InputError(
            f"{page} has {text.count(_START)} tables that begin, and {found} that are whole. Write "
            '"<!-- table LAYOUT: STUDY -->" and "<!-- end of table -->", each in a line of its own.'
        )
    return result


def stale(root: pathlib.Path) -> dict[pathlib.Path, str]:
    """The pages that are not what their studies give, and what they should be."""
    pages = [root / "README.md", *sorted((root / "experiments").rglob("*.md"))]
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    new = {page: written(text, page, root) for page, text in texts.items()}
    return {page: new[page] for page in pages if new[page] != texts[page]}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.tables")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    options = parser.parse_args(arguments)
    try:
        pages = stale(ROOT)
    except InputError as error:
        sys.exit(f"tables: {error}")
    for page, text in pages.items():
        if options.check:
            print(f"{page.relative_to(ROOT)} is not what its studies give.", file=sys.stderr)
        else:
            atomic.atomic_write(page, text)
            print(page.relative_to(ROOT))
    if pages and options.check:
        sys.exit("tables: run `python -m experiments.tables` and commit the pages.")


if __name__ == "__main__":
    main(sys.argv[1:])
