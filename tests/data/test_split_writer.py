"""Splits that are written as they come, in several shards."""

import errno

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tiny_datasets import config

from hfpl_jax.data import split_writer
from hfpl_jax.data.prepare import prepare
from hfpl_jax.data.scenes import generate
from hfpl_jax.errors import InputError

FEATURES = tfds.features.FeaturesDict({"number": np.int64, "text": tfds.features.Text()})


def template(folder):
    return tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name="counted", split="train", filetype_suffix="array_record"
    )


def test_an_example_is_on_its_way_to_the_disk_before_the_next_is_asked_for(monkeypatch, tmp_path):
    events = []

    class Noting(split_writer.ArrayRecordWriter):
        def write(self, record):
            events.append("written")
            super().write(record)

    def examples():
        for number in range(4):
            events.append(number)
            yield {"number": number, "text": "a"}

    monkeypatch.setattr(split_writer, "ArrayRecordWriter", Noting)
    split = split_writer.write_split(examples(), FEATURES, template(tmp_path))
    assert events == [0, "written", 1, "written", 2, "written", 3, "written"]
    assert split.num_examples == 4


def test_shards_keep_the_order_and_are_a_dataset_of_tfds(monkeypatch, tmp_path):
    monkeypatch.setattr(split_writer, "SHARD_BYTES", 6_000)
    scenes = config("scenes", "", options={"train_size": 9, "val_size": 1, "size": 48})
    dataset = prepare(scenes, tmp_path)
    names = sorted(path.name for path in dataset.directory.glob("*-train.*"))
    assert len(names) > 2
    assert names == [
        f"scenes-train.array_record-{shard:05d}-of-{len(names):05d}" for shard in range(len(names))
    ]
    assert not list(dataset.directory.glob("*.incomplete"))
    builder = tfds.builder_from_directory(dataset.directory)
    info = builder.info.splits["train"]
    assert (info.num_examples, len(info.shard_lengths)) == (9, len(names))
    assert info.num_bytes > 6_000 * (len(names) - 1)
    for index, (example, read) in enumerate(
        zip(dataset.split("train"), builder.as_data_source("train"), strict=True)
    ):
        assert example.file_name == read["file_name"].decode() == f"train_{index:05d}.jpg"
        assert example.image == generate("train", index, 48, "").image


def test_a_full_shard_at_the_very_end_is_the_last_one(monkeypatch, tmp_path):
    monkeypatch.setattr(split_writer, "SHARD_BYTES", 1)
    split = split_writer.write_split(
        ({"number": number, "text": ""} for number in range(3)), FEATURES, template(tmp_path)
    )
    assert split.shard_lengths == [1, 1, 1]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_full_disk_is_told_with_the_file(monkeypatch, tmp_path):
    class Full(split_writer.ArrayRecordWriter):
        def write(self, record):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(split_writer, "ArrayRecordWriter", Full)
    with pytest.raises(
        InputError,
        match=r"Cannot write .*train-00000\.incomplete: No space left on device. Free some space",
    ):
        split_writer.write_split(iter([{"number": 0, "text": ""}]), FEATURES, template(tmp_path))
