"""Several processes export together: played by threads that know their number and meet
as processes do; real in test_distributed.
"""

import collections
import dataclasses
import itertools
import threading
import time
from concurrent import futures

import grain
import jax
import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from pseudo_labels import CLASS_NAMES, make

from hfpl_jax.errors import InputError
from hfpl_jax.export import FORMATS, export, parts
from hfpl_jax.runtime import distributed

PUBLISHED = {
    "tfrecord": "dataset_info.json",
    "array_record": "dataset_info.json",
    "png": "train",
    "coco": "train.json",
    "voc": "ImageSets",
    "parquet": "data",
    "yolo": "labels",
}


def together(count, job):
    """What `job()` returns, or raises, in each of `count` processes; those that wait
    for a failed one get a BrokenBarrierError.
    """
    this, barrier = threading.local(), threading.Barrier(count)

    def process(index):
        this.index = index
        try:
            return job()
        except Exception as error:
            barrier.abort()
            return error

    with pytest.MonkeyPatch.context() as patch, futures.ThreadPoolExecutor(count) as pool:
        patch.setattr(jax, "process_count", lambda: count)
        patch.setattr(jax, "process_index", lambda: this.index)
        patch.setattr(distributed, "meet", barrier.wait)
        return list(pool.map(process, range(count)))


def export_one(pseudo_labels, directory, format):
    places = {format: directory}
    return export(pseudo_labels, places, class_names=CLASS_NAMES, split="train")[format]


def export_together(count, pseudo_labels, directory, format):
    return together(
        count,
        lambda: export_one(pseudo_labels, directory, format),
    )


def files(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def records(directory, format):
    """The bytes of every record, in order."""
    for shard in sorted(directory.glob(f"*.{format}-*")):
        if format == "tfrecord":
            yield from grain.experimental.TFRecordIterDataset(str(shard))
        else:
            yield from ArrayRecordReader(str(shard)).read_all()


def rows(directory):
    for file in sorted((directory / "data").iterdir()):
        yield from pyarrow.parquet.read_table(file).to_pylist()


class Watched(list):
    """Tells who asked for which one, and whether something was published by then."""

    def __init__(self, pseudo_labels, published):
        super().__init__(pseudo_labels)
        self.asked, self.early, self._published = collections.defaultdict(set), False, published

    def __getitem__(self, index):
        process = jax.process_index()
        self.asked[process].add(index)
        if process:  # the first one would be done long before
            time.sleep(0.02)
        self.early |= self._published.exists()
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ("total", "processes", "lengths"),
    [
        (5, 1, [5]),
        (1024, 1, [1024]),
        (1025, 1, [512, 513]),
        (5, 2, [2, 3]),
        (3, 4, [1, 1, 1]),
        (2100, 2, [525] * 4),  # not three parts, of which one process would have two
    ],
)
def test_every_process_has_as_many_parts(monkeypatch, total, processes, lengths):
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    made = parts.parts_of(total)
    assert [len(part) for part in made] == lengths
    assert [position for part in made for position in part] == list(range(total))


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("format", FORMATS)
def test_several_processes_write_what_one_writes(tmp_path, format, count):
    ours, alone = tmp_path / "ours", tmp_path / "alone"
    watched = Watched(make(7), ours / PUBLISHED[format])
    results = export_together(count, watched, ours, format)
    expected = export_one(make(7), alone, format)
    assert results == [ours / expected.relative_to(alone)] * count
    assert not watched.early
    shares = [
        watched.asked[process] - {0} for process in range(count)
    ]  # all of them look at the first one
    assert sorted(itertools.chain(*shares)) == list(range(1, 7))
    assert all(shares[1 : min(count, 7)])
    if format == "parquet":
        assert list(rows(ours)) == list(rows(alone))
        assert len(list((ours / "data").iterdir())) == min(count, 7)
        return
    if format not in ("tfrecord", "array_record"):
        assert files(ours) == files(alone)
        return
    assert list(records(ours, format)) == list(records(alone, format))
    found, wanted = (
        tfds.builder_from_directory(directory).info.splits["train"] for directory in (ours, alone)
    )
    assert (found.num_examples, found.num_bytes) == (7, wanted.num_bytes)
    assert len(found.shard_lengths) == min(count, 7)
    assert {path.name for path in ours.iterdir() if "-of-" in path.name} == set(found.filenames)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("failing", [0, 1])
def test_one_that_fails_leaves_the_earlier_export(tmp_path, format, failing):
    export_one(make(5), tmp_path, format)
    before = files(tmp_path)
    bad = make(4, seed=1)
    place = 1 + 2 * failing  # the second of its part
    bad[place] = dataclasses.replace(bad[place], labels=(3,))
    outcomes = export_together(2, bad, tmp_path, format)
    assert isinstance(outcomes[failing], InputError)
    assert bad[place].file_name in str(outcomes[failing])
    assert isinstance(
        outcomes[1 - failing], threading.BrokenBarrierError | InputError
    )  # the folder may be gone before it writes
    left = files(tmp_path)
    assert {
        path: left[path] for path in left if path.parts[0] != "train.incomplete"
    } == before  # the others may still be writing there
    export_together(2, make(5), tmp_path, format)
    assert not (tmp_path / "train.incomplete").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_a_photograph_in_two_parts(tmp_path, format):
    pseudo_labels = make(4)
    outcomes = export_together(2, [*pseudo_labels, pseudo_labels[0]], tmp_path, format)
    with pytest.raises(InputError, match=r"'a\.jpg' has two pseudo-labels"):
        raise outcomes[0]
    assert files(tmp_path) == {}


def test_photographs_of_one_stem_in_two_parts(tmp_path):
    pseudo_labels = make(4)
    pseudo_labels[3] = dataclasses.replace(pseudo_labels[3], file_name="a.png")
    outcomes = export_together(2, pseudo_labels, tmp_path, "png")
    with pytest.raises(InputError, match=r"'a\.jpg' and 'a\.png' would both become a\.png"):
        raise outcomes[0]
    assert files(tmp_path) == {}


@pytest.mark.parametrize("field", ["image", "confidence"])
def test_a_part_unlike_the_first_pseudo_label(tmp_path, field):
    pseudo_labels = make(2) + [dataclasses.replace(one, **{field: None}) for one in make(4)[2:]]
    outcomes = export_together(2, pseudo_labels, tmp_path, "array_record")
    with pytest.raises(InputError, match=f"lacks `{field}`, unlike the first"):
        raise outcomes[1]
    assert files(tmp_path) == {}


def test_a_sequence_need_not_be_a_list(tmp_path):
    """Nor hold more than one pseudo-label at a time."""

    class Lazy(collections.abc.Sequence):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return make(5)[range(5)[index]]

    export_one(Lazy(), tmp_path, "array_record")
    found = list(tfds.builder_from_directory(tmp_path).as_data_source("train"))
    assert [example["file_name"].decode() for example in found] == [
        one.file_name for one in make(5)
    ]
    np.testing.assert_array_equal(found[4]["segmentation_mask"][..., 0], make(5)[4].mask)
