"""A split of photographs with masks, without pixels, and a stage's records of it."""

import numpy as np

from hfpl_jax.data.dataset import Example, encode_mask
from hfpl_jax.defaults import default_config
from hfpl_jax.runtime.records import RecordWriter
from hfpl_jax.stages.context import Context


class Photographs:
    """Splits of photographs of one class, each given by its mask, None for none."""

    name, class_names = "made up", ("cat",)

    def __init__(self, **splits):
        self._splits = splits

    def split(self, name):
        return [
            Example(
                f"{name}{index}.jpg",
                b"",
                np.array([0]),
                None if mask is None else encode_mask(np.array(mask, np.uint8)),
                2,
                3,
            )
            for index, mask in enumerate(self._splits[name])
        ]


def write(workdir, stage, photographs, split, content):
    """A record a photograph: `content(index)` beside what every record says."""
    with RecordWriter(workdir / stage / split) as writer:
        for index, example in enumerate(photographs.split(split)):
            writer.write(
                {
                    "index": index,
                    "file_name": example.file_name,
                    "height": 2,
                    "width": 3,
                    "labels": [0],
                    "probabilities": np.array([0.505], np.float32),
                    **content(index),
                }
            )


def context(workdir, stage, photographs, **fields):
    config = default_config()
    config.data.val_split = ""
    config.update_from_flattened_dict(
        {path.replace("__", "."): value for path, value in fields.items()}
    )
    (workdir / stage).mkdir(exist_ok=True)
    return Context(config, workdir, workdir / stage, photographs)
