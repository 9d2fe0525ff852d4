"""Prints the most that Python holds in each stage of a run on `count` small photographs: `python tests/peak_memory.py FOLDER COUNT`.

What is traced are Python's objects and NumPy's arrays, which do not depend on how an allocator returns pages: records, photographs and
masks are all of these.
"""

import gc
import json
import pathlib
import sys
import tracemalloc

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import jax  # noqa: E402
from end_to_end import recipe  # noqa: E402

from hfpl_jax import pipeline  # noqa: E402

SIDE = 48  # pixels: 7 kB a photograph as PNG, for noise is not compressed, and as much decoded
SMALL = {
    "model.depth": 18,
    "model.width": 8,
    "model.frozen_batch_norm": False,
    "train.epochs": 1,
    "train.batch_size": 16,
    "train.crop_size": 32,
    "train.resize_long": (48, 64),
    "train.freeze": (),
    "inference.scales": (1.0,),
    "inference.flip": False,
    "run.cam_batch_size": 16,
    "run.shard_size": 16,
    "refine.method": "random_walk",
    "refine.crf_iterations": 1,
    "affinity.epochs": 1,
    "affinity.batch_size": 16,
    "affinity.crop_size": 80,
    "affinity.freeze": (),
    "export.format": "tfrecord",
}


def make_photographs(root, count):
    (root / "masks").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["# classes: a, b, c", "file_name,labels,split"]
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(root / f"{index:05d}.png")
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[SIDE // 4 :, SIDE // 4 :] = 1 + index % 3
        Image.fromarray(mask).save(root / "masks" / f"{index:05d}.png")
        lines.append(f"{index:05d}.png,{'abc'[index % 3]},{'val' if index % 10 == 9 else 'train'}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def peaks(folder, count):
    """Stage -> bytes; the export once a format."""
    make_photographs(folder / "photographs", count)
    config = recipe("folder", "", data__root=str(folder / "photographs"), data__val_split="val", data__options__masks="masks")
    config.update_from_flattened_dict(SMALL)
    found = {}
    tracemalloc.start()
    for stage in [stage.name for stage in pipeline.road(config)] + ["export png", "export coco", "export array_record"]:
        name, _, export_format = stage.partition(" ")
        config.export.format = export_format or config.export.format
        gc.collect()
        tracemalloc.reset_peak()
        pipeline.run(config, folder / "run", [name])
        found[stage] = tracemalloc.get_traced_memory()[1]
    return found


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    jax.config.update("jax_compilation_cache_dir", str(folder.parent / "compilation_cache"))
    print(json.dumps(peaks(folder, int(sys.argv[2]))))
