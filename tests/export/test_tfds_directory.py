import dataclasses
import io
import os
import pathlib
import pickle
import shutil
import subprocess
import sys

import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from pseudo_labels import CLASS_NAMES, encoded_instances, make

from hfpl_jax.data.dataset import Dataset
from hfpl_jax.errors import InputError
from hfpl_jax.export import export, parts


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(parts, "IMAGES_PER_PART", 2)


def _export(
    pseudo_labels, directory, *, format="array_record", split="train", class_names=CLASS_NAMES
):
    places = {format: directory}
    return export(pseudo_labels, places, class_names=class_names, split=split)[format]


def _check(found, pseudo_labels):
    """`found` are decoded examples as TFDS yields them."""
    assert len(found) == len(pseudo_labels)
    for example, pseudo_label in zip(found, pseudo_labels, strict=True):
        height, width = pseudo_label.mask.shape
        expected = {
            "file_name": pseudo_label.file_name.encode(),
            "labels": list(pseudo_label.labels),
            "segmentation_mask": pseudo_label.mask[..., None],
            "height": height,
            "width": width,
        }
        if pseudo_label.image is not None:
            expected["image"] = np.asarray(Image.open(io.BytesIO(pseudo_label.image)))
        if pseudo_label.confidence is not None:
            expected["confidence"] = pseudo_label.confidence[..., None]
        if pseudo_label.instances is not None:
            listed = example.pop("instances")
            listed["peak"] = [peak.tolist() for peak in listed["peak"]]
            assert [
                dict(zip(listed, values, strict=True))
                for values in zip(*listed.values(), strict=True)
            ] == encoded_instances(pseudo_label)
        assert example.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(example[name], value, err_msg=name)


def _read(directory, split="train"):
    return list(tfds.builder_from_directory(directory).as_data_source(split))


@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("confidence", [True, False])
@pytest.mark.parametrize("instances", [True, False])
def test_tfds_reads_without_tensorflow(tmp_path, image, confidence, instances):
    pseudo_labels = make(5, image=image, confidence=confidence, instances=instances)
    assert _export(pseudo_labels, tmp_path / "set") == tmp_path / "set"
    _check(_read(tmp_path / "set"), pseudo_labels)


def test_found_instances_are_not_taken_for_true_ones(tmp_path):
    split = Dataset(_export(make(3, instances=True), tmp_path)).split("train")
    assert [example.instances for example in split] == [None] * 3


def test_encoded_photographs_are_unchanged(tmp_path):
    pseudo_labels = make(5)
    decoders = {"image": tfds.decode.SkipDecoding()}
    source = tfds.builder_from_directory(_export(pseudo_labels, tmp_path)).as_data_source(
        "train", decoders=decoders
    )
    assert [example["image"] for example in source] == [one.image for one in pseudo_labels]


def test_files_and_metadata(tmp_path):
    _export(make(5), tmp_path, format="tfrecord")
    shards = [f"pseudo_labels-train.tfrecord-0000{i}-of-00003" for i in range(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dataset_info.json",
        "features.json",
        "labels.labels.txt",
        *shards,
    ]
    info = tfds.builder_from_directory(tmp_path).info
    assert info.splits["train"].shard_lengths == [1, 2, 2]
    assert info.splits["train"].filenames == shards
    assert (
        info.splits["train"].num_bytes
        == sum((tmp_path / shard).stat().st_size for shard in shards) - 5 * 16
    )  # 16 bytes frame a record
    assert info.features["labels"].feature.names == list(CLASS_NAMES)
    assert info.features["segmentation_mask"].shape == (None, None, 1)


@pytest.mark.parametrize(("total", "lengths"), [(1, [1]), (2, [2]), (3, [1, 2]), (7, [1, 2, 2, 2])])
def test_number_of_shards(tmp_path, total, lengths):
    _export(make(total), tmp_path)
    assert tfds.builder_from_directory(tmp_path).info.splits["train"].shard_lengths == lengths
    assert len(_read(tmp_path)) == total


def test_the_bytes_do_not_depend_on_the_process(tmp_path):
    """Protobuf orders a map by a hash that changes from process to process."""
    script = f"""
import sys
sys.path.append({str(pathlib.Path(__file__).parent)!r})
from pseudo_labels import CLASS_NAMES, encoded_instances, make
from hfpl_jax.export import export
export(make(4), {{"tfrecord": sys.argv[1]}}, class_names=CLASS_NAMES, split="train")
"""
    digests = set()
    for folder in (tmp_path / "1", tmp_path / "2", tmp_path / "3"):
        subprocess.run([sys.executable, "-c", script, folder], check=True)
        digests.add(b"".join(path.read_bytes() for path in sorted(folder.glob("*.tfrecord-*"))))
    assert len(digests) == 1


def test_the_folder_may_be_moved(tmp_path):
    _export(make(3), tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    _check(_read(tmp_path / "there"), make(3))


def test_grain_reads_array_record(tmp_path):
    pseudo_labels = make(5)
    source = tfds.builder_from_directory(_export(pseudo_labels, tmp_path)).as_data_source("train")
    order = [3, 0, 4, 1, 2]
    shuffled = grain.MapDataset.source(source).map_with_index(lambda i, _: source[order[i]])
    _check(list(shuffled), [pseudo_labels[i] for i in order])
    # Grain's worker processes get the source by pickle.
    _check(
        list(grain.MapDataset.source(pickle.loads(pickle.dumps(source))).to_iter_dataset()),
        pseudo_labels,
    )


def test_grain_reads_tfrecord(tmp_path):
    pseudo_labels = make(5)
    features = tfds.builder_from_directory(
        _export(pseudo_labels, tmp_path, format="tfrecord")
    ).info.features
    shards = sorted(tmp_path.glob("*.tfrecord-*"))
    records = [
        record for shard in shards for record in grain.experimental.TFRecordIterDataset(str(shard))
    ]
    _check([features.deserialize_example_np(record) for record in records], pseudo_labels)


@pytest.mark.parametrize("format", ["tfrecord", "array_record"])
def test_splits_share_a_folder(tmp_path, format):
    for split, count in (("train", 5), ("val", 3), ("train", 2)):
        _export(make(count), tmp_path, split=split, format=format)
    splits = tfds.builder_from_directory(tmp_path).info.splits
    assert {name: split.num_examples for name, split in splits.items()} == {"train": 2, "val": 3}
    on_disk = {path.name for path in tmp_path.iterdir() if "-of-" in path.name}
    assert on_disk == {name for split in splits.values() for name in split.filenames}
    if format == "array_record":
        _check(_read(tmp_path, "val"), make(3))
        _check(_read(tmp_path, "train"), make(2))


def test_another_format_replaces_the_only_split(tmp_path):
    _export(make(5), tmp_path, format="tfrecord")
    _export(make(3), tmp_path, format="array_record")
    assert not list(tmp_path.glob("*tfrecord*"))
    _check(_read(tmp_path), make(3))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "tfrecord"},
        {"class_names": ("cat", "dog", "fox")},
        {"class_names": (*CLASS_NAMES, "fox")},
        {"image": False},
        {"confidence": False},
        {"instances": True},
    ],
)
def test_splits_that_do_not_fit_together(tmp_path, changes):
    _export(make(3), tmp_path, split="val")
    given = ("image", "confidence", "instances")
    features = {name: changes.pop(name) for name in given if name in changes}
    with pytest.raises(InputError, match=r"already holds the splits \['val'\]"):
        _export(make(3, **features), tmp_path, split="train", **changes)
    _check(_read(tmp_path, "val"), make(3))


def test_damaged_description_of_an_earlier_export(tmp_path):
    _export(make(3), tmp_path)
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot be read.*Delete the folder"):
        _export(make(3), tmp_path)


@pytest.mark.parametrize("field", ["image", "confidence", "instances"])
@pytest.mark.parametrize("odd_one", [0, 2])
def test_photographs_given_for_some_only(tmp_path, field, odd_one):
    pseudo_labels = make(5, instances=True)
    pseudo_labels[odd_one] = dataclasses.replace(pseudo_labels[odd_one], **{field: None})
    with pytest.raises(
        InputError, match=f"{'has' if odd_one == 0 else 'lacks'} `{field}`, unlike the first"
    ):
        _export(pseudo_labels, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_at_any_rename_leaves_whole_splits_only(tmp_path, monkeypatch):
    """Interrupts the publication of a second `train` beside `val` before each of its
    renames in turn.
    """
    rename = os.replace
    steps = 0

    def killed_after(count):
        def replace(*args):
            nonlocal steps
            steps += 1
            if steps > count:
                raise KeyboardInterrupt
            rename(*args)

        return replace

    outcomes = []
    for count in range(100):
        folder = tmp_path / str(count)
        _export(make(4), folder)
        _export(make(3), folder, split="val")
        steps = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed_after(count))
            try:
                _export(make(5, seed=1), folder)
            except KeyboardInterrupt:
                whole = False
            else:
                whole = True
        _check(_read(folder, "val"), make(3))
        splits = set(tfds.builder_from_directory(folder).info.splits)
        if "train" in splits:
            found = _read(folder)
            _check(found, make(4) if len(found) == 4 else make(5, seed=1))
            outcomes.append(len(found))
        else:
            outcomes.append(0)
        assert not list(folder.glob("*.incomplete"))
        _export(make(5, seed=1), folder)
        _check(_read(folder), make(5, seed=1))
        if whole:
            break
    assert whole
    assert outcomes == sorted(
        outcomes, key=[4, 0, 5].index
    )  # the old split, then none, then the new one
    assert set(outcomes) == {4, 0, 5}
