"""Prints the most that Python comes to hold in each stage of runs on small photographs:
`python tests/peak_memory.py FOLDER COUNT...`.

What is traced are Python's objects and NumPy's arrays, which do not depend on how an
allocator returns pages: records, photographs and masks are all of these. A training is
traced while it reads its batches; the rest of it would be lost among what its
compilation takes.
"""

import contextlib
import dataclasses
import gc
import json
import pathlib
import sys
import tracemalloc

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from end_to_end import recipe  # noqa: E402
from test_own_backbone import Toy, ToySettings  # noqa: E402

import hfpl_jax  # noqa: E402
from hfpl_jax import pipeline  # noqa: E402
from hfpl_jax.data.batches import batch_stream  # noqa: E402
from hfpl_jax.data.photograph_files import list_photographs  # noqa: E402
from hfpl_jax.export import FORMATS  # noqa: E402
from hfpl_jax.label_photographs import label_photographs  # noqa: E402
from hfpl_jax.models.backbones import BACKBONES  # noqa: E402
from hfpl_jax.models.backbones.backbone import Entry  # noqa: E402
from hfpl_jax.stages import learning, train  # noqa: E402
from hfpl_jax.training.fit import fit  # noqa: E402

SIDE = 64  # pixels: 12 kB a photograph as PNG, for noise is not compressed, and as much decoded
SMALL = {
    "model.backbone": "toy",  # what is traced takes several times as long to compile
    "model.weights": "random",
    "train.epochs": 1,
    "train.batch_size": 16,
    "train.crop_size": 32,
    "train.resize_long": (48, 64),
    "inference.scales": (1.0,),
    "inference.flip": False,
    "run.cam_batch_size": 4,  # the few, too, are more batches than are read ahead
    "run.shard_size": 16,
    "refine.name": "random_walk",
    "refine.random_walk.crf.iterations": 1,
    "refine.random_walk.affinity.epochs": 1,
    "refine.random_walk.affinity.batch_size": 16,
    "refine.random_walk.affinity.crop_size": 80,
    "export.formats": ("tfrecord",),
}

peaks = {}
"""Stage -> bytes; the export once a format."""


def note_peak(stage):
    """Once a stage: the first time counts."""
    if tracemalloc.is_tracing():
        peaks[stage] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def fit_untraced(job, folder, *, seed, run):
    with contextlib.closing(
        batch_stream(job.source, job.transform, batch_size=job.settings.batch_size, seed=seed)
    ) as stream:
        for _ in range(job.steps):
            next(stream)
    note_peak(job.section)
    few = [
        job.source[index] for index in range(2 * job.settings.batch_size)
    ]  # as many steps, and so the same programs, for any count
    return fit(dataclasses.replace(job, source=few), folder, seed=seed, run=run)


def make_photographs(root, count):
    (root / "masks").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["# classes: a, b, c", "file_name,labels,split"]
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(
            root / f"{index:05d}.png"
        )
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[SIDE // 4 :, SIDE // 4 :] = 1 + index % 3
        Image.fromarray(mask).save(root / "masks" / f"{index:05d}.png")
        lines.append(f"{index:05d}.png,{'abc'[index % 3]},{'val' if index % 10 == 9 else 'train'}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def recipe_for(root, count):
    make_photographs(root, count)
    config = recipe(
        "cam",
        "data=folder",
        data__root=str(root),
        data__val_split="val",
        data__options__masks="masks",
    )
    config.update_from_flattened_dict(SMALL)
    return config


def trace(folder, count):
    config = recipe_for(folder / "photographs", count)
    for stage in [stage.name for stage in pipeline.stages_of(config)] + [
        f"export {format}" for format in FORMATS if format != "tfrecord"
    ]:
        name, _, export_format = stage.partition(" ")
        config.export.formats = (export_format or "tfrecord",)
        gc.collect()
        tracemalloc.start()
        pipeline.run(config, folder / "run", [name])
        note_peak(stage)
    gc.collect()
    tracemalloc.start()
    listing = list_photographs([str(path) for path in (folder / "photographs").glob("*.png")])
    network = hfpl_jax.load(folder / "run", "cam")
    label_photographs(network, listing, folder / "masks", format="tfrecord")
    note_peak("predict")


if __name__ == "__main__":
    BACKBONES["toy"] = Entry(Toy, ToySettings)
    train.fit = learning.fit = fit_untraced
    folder = pathlib.Path(sys.argv[1])
    pipeline.run(
        recipe_for(folder / "first", 10), folder / "first" / "run", ["data"]
    )  # imports much
    for number, count in enumerate(sys.argv[2:]):
        peaks.clear()
        trace(folder / str(number), int(count))
        print(json.dumps(peaks), flush=True)
