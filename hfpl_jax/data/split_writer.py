"""Writes a split to its ArrayRecord shards, each example as it comes.

TFDS's own writer gathers a split in memory first. Beyond 1 GB, which VOC's trainaug
reaches and COCO's train exceeds eighteen times, it needs TensorFlow to put examples
into buckets on disk; those of a split that keeps its order share one bucket, which it
reads as a whole.
"""

import itertools
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from hfpl_jax.runtime.atomic import TEMPORARY, writing

SHARD_BYTES = 2**28
"""A shard that has reached this size is closed."""


def write_split(
    examples: Iterable[dict[str, Any]],
    features: tfds.features.FeaturesDict,
    template: tfds.core.ShardedFileTemplate,
) -> tfds.core.SplitInfo:
    """Writes `examples`, at least one, in their order.

    Args:
      examples: as `features` encodes them.
      template: data folder, dataset's name and split of the shards; how many there will
        be shows at the end, so they get their names then.

    Raises:
      InputError: the disk refuses.
    """
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    # Not `serialize_example`: it leaves the order of the fields, and so the bytes, to
    # chance.
    serialized = (
        serializer.get_tf_example(features.encode_example(example)).SerializeToString(
            deterministic=True
        )
        for example in examples
    )
    folder, shards, size = pathlib.Path(template.data_dir), [], 0
    for first in serialized:
        path = folder / f"{template.split}-{len(shards):05d}{TEMPORARY}"
        length, shard_size = _write_shard(path, itertools.chain([first], serialized))
        shards.append((path, length))
        size += shard_size
    for index, (path, _) in enumerate(shards):
        with writing(path):
            os.replace(path, template.sharded_filepath(shard_index=index, num_shards=len(shards)))
    return tfds.core.SplitInfo(
        name=template.split,
        shard_lengths=[length for _, length in shards],
        num_bytes=size,
        filename_template=template,
    )


def _write_shard(path: pathlib.Path, records: Iterable[bytes]) -> tuple[int, int]:
    """Takes records until the shard is full; returns their number and the sum of their
    lengths, as TFDS counts bytes.
    """
    length, size = 0, 0
    with writing(path):
        writer = ArrayRecordWriter(os.fspath(path), "group_size:1")
    try:
        for record in records:
            with writing(path):
                writer.write(record)
            length, size = length + 1, size + len(record)
            if size >= SHARD_BYTES:
                break
    finally:
        with writing(path):
            writer.close()
    return length, size
