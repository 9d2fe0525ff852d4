"""The whole pipeline on tiny scenes, and the command as a process of its own."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import time

from hfpl_jax import command_line, pipeline
from hfpl_jax.data.dataset import Dataset, decode_image, decode_mask
from hfpl_jax.defaults import DATASETS
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.recipe import load_recipe
from hfpl_jax.report import Tile
from hfpl_jax.report.grid import grid_png
from hfpl_jax.runtime.records import RecordReader

ROOT = pathlib.Path(__file__).parents[1]

TINY = {
    "model.resnet.width": 16,
    "model.resnet.output_stride": 16,
    "train.epochs": 4,
    "train.crop_size": 48,
    "train.resize_long": (48, 64),
    "inference.long_side": 48,
    "run.checkpoint_every": 2,
    "run.log_every": 2,
    "run.cam_batch_size": 4,
    "run.shard_size": 4,
}
"""What makes `configs/quickstart.py:debug` smaller still: 12 steps, of which every
second is saved, and 8 shards of CAMs.
"""


RECIPES = (
    ("quickstart", ""),
    *(
        (path.stem, f"data={data}")
        for path in sorted((ROOT / "configs").glob("*.py"))
        for data in DATASETS
        if path.stem != "quickstart"
    ),
    ("cam", "data=voc,small"),
    ("drs", "data=voc,small"),
    ("drs", "data=voc,published"),
    ("frozen", "data=voc,clip"),
    ("frozen", "data=voc,dinov2"),
    ("frozen", "data=voc,small"),
    ("group", "data=voc,small"),
    ("group", "data=voc,published"),
    ("mcof", "data=voc,small"),
    ("mctformer", "data=voc,published"),
    ("mctformer", "data=voc,plus"),
    ("ppc", "data=voc,small"),
    ("ppc", "data=voc,published"),
    ("prm", "data=voc,small"),
    ("prm", "data=voc,published"),
    ("puzzle", "data=voc,small"),
    ("puzzle", "data=voc,published"),
    ("seam", "data=voc,small"),
    ("seam", "data=voc,published"),
    ("seam", "data=coco,published"),
    ("sipe", "data=voc,small"),
    ("sipe", "data=voc,published"),
)
"""Every recipe with each of its datasets, and its presets: (name, switches)."""


def recipe(name, switches="debug", **fields):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(switches)
    config.update_from_flattened_dict(
        {path.replace("__", "."): value for path, value in fields.items()}
    )
    return config


def tiny(**fields):
    config = recipe("quickstart", **fields)
    config.update_from_flattened_dict(TINY)
    return config


def flags(fields=TINY):
    """`fields` as options of the command, and where the tests keep what they have
    compiled.
    """
    compiled = {"run.compilation_cache": os.environ["JAX_COMPILATION_CACHE_DIR"]}
    return [
        f"--config.{path}={str(value).replace(' ', '')}"
        for path, value in (fields | compiled).items()
    ]


def arguments_of(workdir, **fields):
    """Of the command, for the debug run with `fields`."""
    recipe = ROOT / "configs" / "quickstart.py"
    return [f"--config={recipe}:debug", f"--workdir={workdir}", *flags(fields)]


def run_as_typed(workdir, **fields):
    """What the command does with `arguments_of` them, its errors not caught."""
    asked = command_line.parse(arguments_of(workdir, **fields))
    pipeline.run(asked.config, workdir, recipe=load_recipe(asked.recipe))


def environment(devices):
    """Of a process with so many devices, that else compiles as this one does, and fails
    where it imports PyTorch or TensorFlow, or renames a folder.
    """
    flag = f"--xla_force_host_platform_device_count={devices}"
    return os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {flag}",
        "PYTHONPATH": forbidden(),
    }


def forbidden():
    """The PYTHONPATH of `environment`."""
    places = [str(ROOT / "tests" / name) for name in ("never_imported", "folders_stay")]
    return os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])


def command(*arguments, devices=8, env=None):
    """A started `python -m hfpl_jax`, with its output as text; `env` in place of the
    environment of `devices`.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "hfpl_jax", *map(str, arguments)],
        cwd=ROOT,
        env=env or environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(ready, process):
    """Waits for `ready()` while the process runs."""
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def finished(process):
    """Exit status, standard output and standard error."""
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def expected_pictures(workdir, *, walked=False, segmented=False):
    """Name -> bytes of the pictures for the photographs that report.html names, their
    maps found by name in the records.

    Args:
      workdir: of a run on tiny scenes.
      walked: whether its pseudo-labels are those of the random walk.
      segmented: whether it has a final network.
    """
    dataset = Dataset(workdir / "data" / "scenes" / "1.0.0")
    _, *sections = (workdir / "report" / "report.html").read_text().split('<p class="titles">')
    stages = {"CAM": "cams", **({"CRF": "crf"} if walked else {}), "pseudo-label": "labels"}
    expected = {"grid.png": ("train", stages)}
    if segmented:
        expected["predictions.png"] = ("val", {"final network": "predictions"})
    assert len(sections) == len(expected)
    return {
        name: _picture(workdir, dataset, split, stages, section)
        for (name, (split, stages)), section in zip(expected.items(), sections, strict=True)
    }


def pictures(workdir):
    """Name -> bytes of the pictures that a run has written."""
    return {path.name: path.read_bytes() for path in (workdir / "report").glob("*.png")}


def _picture(workdir, dataset, split, stages, section):
    photographs = {example.file_name: example for example in dataset.split(split)}
    records = {
        panel: {record["file_name"]: record for record in RecordReader(workdir / stage / split)}
        for panel, stage in stages.items()
    }
    names = re.findall(r"<figcaption>(\S+) <span>", section)
    assert len(names) == len(set(names)) == 8
    tiles = []
    for name in names:
        example = photographs[name]
        maps = {"truth": decode_mask(example.segmentation_mask, name)}
        for panel, by_name in records.items():
            maps[panel] = (
                CamRecord.decode(by_name[name]).cams.max(axis=-1, initial=0.0)
                if panel == "CAM"
                else decode_mask(by_name[name]["mask"], name)
            )
        labels = tuple(dataset.class_names[label] for label in example.labels)
        tiles.append(Tile(name, decode_image(example.image, name), maps, labels))
    return grid_png(tiles, class_names=dataset.class_names)
