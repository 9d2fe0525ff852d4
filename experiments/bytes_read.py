"""How many photographs, and bytes of them, each stage reads from the prepared dataset:

    python -m experiments.bytes_read --workdir=DIR --json=FILE -- --config=RECIPE ...

Runs all stages in this process and counts what is asked of the dataset, its photographs
and masks as they are stored; bytes a stage reads of its own records are not counted. What
follows `--` are options of `python -m hfpl_jax`.
"""

import argparse
import collections
import json
import pathlib
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from hfpl_jax import command_line, pipeline
from hfpl_jax.data.dataset import Example, Split
from hfpl_jax.recipe import load_recipe
from hfpl_jax.runtime import atomic
from hfpl_jax.runtime.provenance import commit, today

BESIDES = "checks and fingerprints"
"""What is read outside all stages."""


def counted(
    config: ConfigDict, recipe: ConfigDict | None, workdir: pathlib.Path
) -> dict[str, dict[str, int]]:
    """Stage -> its photographs and bytes, and those of the prepared dataset as "data"."""
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    running = [BESIDES]
    read, do = Split.__getitem__, pipeline._do

    def reading(split: Split, index: int) -> Example:
        example = read(split, index)
        size = len(example.image) + len(example.segmentation_mask or b"")
        counts[running[-1]].update({"photographs": 1, "bytes": size})
        return example

    def doing(stage, context, manifest):
        running.append(stage.name)
        try:
            return do(stage, context, manifest)
        finally:
            running.pop()

    Split.__getitem__, pipeline._do = reading, doing
    try:
        dataset = pipeline.run(config, workdir, recipe=recipe).dataset
        found = {stage: dict(each) for stage, each in counts.items()}
        counts.clear()
        for name in {config.data.train_split, config.data.val_split} - {""}:
            collections.deque(dataset.split(name), maxlen=0)
    finally:
        Split.__getitem__, pipeline._do = read, do
    return {"data": dict(counts[BESIDES]), **found}


def table(counts: dict[str, dict[str, int]]) -> str:
    whole = counts["data"]["bytes"]
    rows = [
        f"| {stage} | {each['photographs']} | {each['bytes']} | {each['bytes'] / whole:.2f} |"
        for stage, each in counts.items()
    ]
    return "\n".join(["| stage | photographs | bytes | passes |", "|---|---|---|---|", *rows])


def main(arguments: Sequence[str]) -> None:
    place = arguments.index("--")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--json", required=True)
    own = parser.parse_args(arguments[:place])
    asked = command_line.parse([*arguments[place + 1 :], f"--workdir={own.workdir}"])
    counts = counted(asked.config, load_recipe(asked.recipe), own.workdir)
    content = {"command": arguments[place + 1 :], "commit": commit(), "date": today()}
    atomic.atomic_write(own.json, json.dumps({**content, "counts": counts}, indent=1) + "\n")
    print(table(counts))


if __name__ == "__main__":
    main(sys.argv[1:])
