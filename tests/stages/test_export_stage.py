"""The export puts each photograph's own instances beside its pseudo-label."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds
from scored_photographs import Photographs, context, write

from hfpl_jax.data.dataset import encode_mask
from hfpl_jax.instance import Instance, encode_rle
from hfpl_jax.stages import export

COUNT = 5
RLE = encode_rle(np.ones((2, 3), bool))


class Reversed(Photographs):
    """For records in the opposite order: the last photograph's first."""

    def split(self, name):
        return super().split(name)[::-1]


def exported(workdir, reads):
    masks = [np.full((2, 3), index % 2) for index in range(COUNT)]
    photographs = Photographs(train=masks)
    mask = encode_mask(np.zeros((2, 3), np.uint8))
    write(workdir, "labels", photographs, "train", lambda index: {"mask": mask, "confidence": mask})

    def content(position):
        index = COUNT - 1 - position
        found = Instance(0, RLE, score=index / 8, peak=(1, index % 3))
        return {"index": index, "instances": [found.encode()] * (index % 3)}

    write(workdir, "instances", Reversed(train=masks), "train", content)
    of = context(
        workdir,
        "export",
        photographs,
        export__formats=("array_record",),
        export__image=False,
    )
    export.run(dataclasses.replace(of, reads=reads))
    return list(
        tfds.builder_from_directory(workdir / "export" / "array_record").as_data_source("train")
    )


def test_instances_are_those_of_the_photograph(tmp_path):
    records = exported(tmp_path, ("data", "labels", "instances"))
    assert len(records) == COUNT
    for index, record in enumerate(records):
        assert record["file_name"] == f"train{index}.jpg".encode()
        listed = record["instances"]
        assert list(listed["score"]) == [index / 8] * (index % 3)
        assert [peak.tolist() for peak in listed["peak"]] == [[1, index % 3]] * (index % 3)
        assert list(listed["counts"]) == [RLE["counts"].encode()] * (index % 3)


def test_none_of_a_stage_that_the_configuration_does_not_have(tmp_path):
    """Though its folder is there, from an earlier configuration."""
    assert all("instances" not in record for record in exported(tmp_path, ("data", "labels")))
