"""All stages on as many photographs as COCO has, on two processes.

    python -m experiments.whole_coco --workdir=runs/whole --photographs=4000,82783 \
        --json=experiments/results/whole_coco.json

For every number of photographs a COCO of them is generated, unless it lies in the
workdir already, and one command of two processes goes through the stages. Both are
killed (SIGKILL) in data, in cams and in export, each time once an eighth is written, and
the same command is given again. At the end there must be a record and an exported
pseudo-label of every photograph.

The network is as small as can be and trained on the 64 photographs of val: neither it
nor its masks are what is looked at.
"""

import argparse
import collections
import contextlib
import functools
import itertools
import json
import pathlib
import shutil
import sys
from collections.abc import Sequence

from experiments.results import facts
from experiments.whole_coco.photographs import YEAR, write_coco
from experiments.whole_coco.processes import Failed, Sample, run, run_and_kill
from experiments.whole_coco.table import table
from hfpl_jax.data import made_of
from hfpl_jax.data.dataset import Dataset
from hfpl_jax.recipe import load_recipe
from hfpl_jax.runtime import atomic
from hfpl_jax.runtime.manifest import read_manifest
from hfpl_jax.runtime.records import RecordReader

CONFIG = "configs/cam.py:data=coco,isl=0,fsl=0"
FIELDS = {
    "data.options.year": YEAR,
    "data.train_split": "val",
    "data.label_split": "train",
    "data.val_split": "",
    "model.backbone": "resnet18",
    "model.weights": "random",
    "model.resnet.width": 8,
    "train.epochs": 1,
    "train.crop_size": 48,
    "train.resize_long": (48, 64),
    "inference.scales": (1.0,),
    "inference.flip": False,
    "run.cam_batch_size": 64,
    "refine.name": "crf",
}
DATASET = "data/coco_seg/1.0.0"
STAGES = ("data", "train", "cams", "metrics", "labels", "export")
KILLED = {
    "data": f"{DATASET}/train-*.incomplete",
    "cams": "cams/train/records-*.array_record",
    "export": "export/tfrecord/train.incomplete/files/*",
}
"""Stage -> the files that it is writing; those of val are few."""
KEPT = {"data": "data/coco_seg.unfinished/checked/train", "cams": "cams/train"}
"""Stage -> the records that a killed one goes on from; an export is written anew."""
VAL = 64
_EIGHTH = 1 / 8
_BUFFERED = 2**20  # bytes that need not be on the disk yet: those of few photographs


def one_run(folder: pathlib.Path, coco: pathlib.Path, count: int, options: Sequence[str]) -> dict:
    """The figures and seconds of all stages on `count` photographs, in a new `folder`.

    Raises:
      Failed: a command failed, or something of what it had written is missing.
    """
    size = write_coco(coco, {"train": count, "val": VAL})
    command = [
        f"--config={CONFIG}",
        f"--workdir={folder}",
        f"--config.data.root={coco}",
        *(f"--config.{path}={str(value).replace(' ', '')}" for path, value in FIELDS.items()),
        f"--stages={','.join(STAGES)}",
        *options,
    ]
    stage, least = functools.partial(_stage, folder), max(0, int(_EIGHTH * size) - _BUFFERED)
    commands: list[list[Sample]] = []
    kept: dict[str, int] = {}
    shards: dict[pathlib.Path, int] = {}
    for killed, files in KILLED.items():
        when = functools.partial(_wrote, folder, files, least)
        commands.append(run_and_kill(command, folder / "logs" / killed, stage, when))
        kept[f"{killed}/kept"] = _number(folder / KEPT[killed]) if killed in KEPT else 0
        shards |= _shards(folder)
        print(f"{count} photographs: killed in {stage()}", flush=True)
    commands.append(run(command, folder / "logs" / "last", stage))
    if not shards.items() <= _shards(folder).items():
        raise Failed(f"Records that were there at a kill were made again in {folder}.")
    _check_complete(folder, count)
    disk = {f"{stage}/mb_disk": round(_bytes(folder / stage) / 1e6, 2) for stage in STAGES}
    figures, seconds = took(commands)
    about = {"photographs": count, "photographs/mb_disk": round(size / 1e6, 1)}
    return {"figures": about | figures | disk | kept, "seconds": seconds}


def took(commands: Sequence[Sequence[Sample]]) -> tuple[dict[str, float], dict[str, float]]:
    """The CPU seconds and the memory of each stage, and its seconds: those of all its
    commands, but the memory, of the larger process, in the last one.
    """
    seconds: dict[str, float] = collections.defaultdict(float)
    cpu: dict[str, float] = collections.defaultdict(float)
    figures: dict[str, float] = {}
    for samples in commands:
        for before, after in itertools.pairwise(samples):
            seconds[before.stage] += after.seconds - before.seconds
            cpu[before.stage] += after.cpu_seconds - before.cpu_seconds
        for stage, of_stage in itertools.groupby(samples, lambda sample: sample.stage):
            peaks = [max(sample.memory) / 1e6 for sample in of_stage]
            for name, share in {"mb_quarter": 1 / 4, "mb_half": 1 / 2, "mb": 1}.items():
                first = max(1, round(share * len(peaks)))
                figures[f"{stage}/{name}"] = round(max(peaks[:first]), 1)
    figures |= {f"{stage}/cpu_s": round(each, 1) for stage, each in cpu.items()}
    return figures, {stage: round(each, 1) for stage, each in seconds.items()}


def _stage(folder: pathlib.Path) -> str:
    """The first one that is not done; after all of them the last."""
    if not (folder / DATASET / made_of.FILE_NAME).exists():
        return STAGES[0]
    unfinished = (each for each in STAGES[1:] if not read_manifest(folder / each).get("done"))
    return next(unfinished, STAGES[-1])


def _wrote(folder: pathlib.Path, pattern: str, least: int) -> bool:
    """Whether there are files of this pattern, of `least` bytes together."""
    sizes = []
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return bool(sizes) and sum(sizes) >= least


def _shards(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    """The records of all stages, and when each file was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/train/*.array_record")}


def _number(records: pathlib.Path) -> int:
    return len(RecordReader(records)) if any(records.glob("records-*.array_record")) else 0


def _bytes(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _check_complete(folder: pathlib.Path, count: int) -> None:
    found = {stage: _number(folder / stage / "train") for stage in ("cams", "labels")}
    for dataset in (DATASET, "export/tfrecord"):
        found[dataset] = len(Dataset(folder / dataset).split("train"))
    if wrong := {where: number for where, number in found.items() if number != count}:
        raise Failed(f"Of {count} photographs there are {wrong} in {folder}.")


def manifests(folder: pathlib.Path) -> list[dict]:
    return [read_manifest(folder / stage) for stage in STAGES if stage != "data"]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.whole_coco",
        epilog="What follows -- are options of python -m hfpl_jax.",
    )
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="folder of the runs")
    parser.add_argument("--json", type=pathlib.Path, required=True, help="of the results")
    parser.add_argument(
        "--photographs", default="4000,82783", help="how many, of one run or several"
    )
    parser.add_argument("options", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    workdir, runs, made = asked.workdir.absolute(), {}, []
    recipe = load_recipe(CONFIG)
    recipe.update_from_flattened_dict(FIELDS)
    for count in map(int, asked.photographs.split(",")):
        folder = workdir / f"run-{count}"
        shutil.rmtree(folder, ignore_errors=True)  # one that went on would take less time
        try:
            run_of = one_run(folder, workdir / f"coco-{count}", count, asked.options)
        except Failed as error:
            sys.exit(f"whole_coco: {error}")
        runs[f"{count:,} photographs"] = {"0": run_of}
        made += manifests(folder)
        study = {**facts(CONFIG, [recipe], made), "runs": runs}
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        atomic.atomic_write(asked.json, json.dumps(study, indent=1) + "\n")
    print(table(runs))


if __name__ == "__main__":
    main(sys.argv[1:])
