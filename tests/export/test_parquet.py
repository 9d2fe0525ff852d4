"""The files as pyarrow reads them, and the card as YAML; `test_clients` has Hugging Face
datasets read them.
"""

import dataclasses
import io
import json
import sys

import numpy as np
import pyarrow.parquet
import pytest
import yaml
from kill_at_renames import killed_at_every_rename
from PIL import Image
from pseudo_labels import CLASS_NAMES, make

from hfpl_jax.errors import InputError
from hfpl_jax.export import check_exportable, export, parquet, parts


def _write(pseudo_labels, directory, *, split="train", class_names=CLASS_NAMES):
    places = {"parquet": directory}
    return export(pseudo_labels, places, class_names=class_names, split=split)["parquet"]


def _rows(directory, split="train"):
    for path in sorted((directory / "data").glob(f"{split}-*")):
        yield from pyarrow.parquet.read_table(path).to_pylist()


def _pixels(image):
    with Image.open(io.BytesIO(image["bytes"])) as opened:
        assert opened.mode == "L"
        return np.asarray(opened)


def _check(directory, pseudo_labels, split="train"):
    for row, one in zip(_rows(directory, split), pseudo_labels, strict=True):
        assert row["file_name"] == one.file_name
        assert (row["height"], row["width"]) == one.mask.shape
        assert row["labels"] == list(one.labels)
        assert row["image"] == {"bytes": one.image, "path": one.file_name}
        np.testing.assert_array_equal(_pixels(row["segmentation_mask"]), one.mask)
        np.testing.assert_array_equal(_pixels(row["confidence"]), one.confidence)


def _head(directory):
    return yaml.safe_load((directory / "README.md").read_text().split("---\n")[1])


def test_rows_features_and_card(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "IMAGES_PER_PART", 2)
    assert _write(make(5), tmp_path) == tmp_path
    names = [f"train-0000{part}-of-00003.parquet" for part in range(3)]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == names
    _check(tmp_path, make(5))
    known = pyarrow.parquet.read_schema(tmp_path / "data" / names[0]).metadata[b"huggingface"]
    image, number = {"_type": "Image"}, {"dtype": "int32", "_type": "Value"}
    classes = {"names": list(CLASS_NAMES), "_type": "ClassLabel"}
    assert list(json.loads(known)["info"]["features"].items()) == [
        ("file_name", {"dtype": "string", "_type": "Value"}),
        ("image", image),
        ("labels", {"feature": classes, "_type": "Sequence"}),
        ("segmentation_mask", image),
        ("confidence", image),
        ("height", number),
        ("width", number),
    ]
    head = _head(tmp_path)
    assert head["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}
    ]
    [split] = head["dataset_info"]["splits"]
    assert (split["name"], split["num_examples"]) == ("train", 5)
    assert split["num_bytes"] > sum(len(one.image) for one in make(5))
    assert head["dataset_info"]["features"] == [
        {"name": "file_name", "dtype": "string"},
        {"name": "image", "dtype": "image"},
        {
            "name": "labels",
            "sequence": {"class_label": {"names": {str(i): n for i, n in enumerate(CLASS_NAMES)}}},
        },
        {"name": "segmentation_mask", "dtype": "image"},
        {"name": "confidence", "dtype": "image"},
        {"name": "height", "dtype": "int32"},
        {"name": "width", "dtype": "int32"},
    ]


def test_row_groups_bound_what_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_ROWS", 2)
    _write(make(5), tmp_path)
    [path] = (tmp_path / "data").iterdir()
    footer = pyarrow.parquet.read_metadata(path)
    groups = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    assert groups == [2, 2, 1]
    _check(tmp_path, make(5))
    monkeypatch.setattr(parquet, "_BYTES", 1)  # of large photographs fewer
    _write(make(5), tmp_path)
    assert pyarrow.parquet.read_metadata(path).num_row_groups == 5


def test_splits_share_a_folder(tmp_path):
    for split, count in (("train", 5), ("val", 3), ("train", 2)):
        _write(make(count), tmp_path, split=split)
        _check(tmp_path, make(count), split)
    splits = {one["name"]: one["num_examples"] for one in _head(tmp_path)["dataset_info"]["splits"]}
    assert splits == {"train": 2, "val": 3}
    for changed in (
        {"class_names": ("cat", "dog", "fox")},
        {"pseudo_labels": make(2, image=False)},
    ):
        with pytest.raises(InputError, match=r"already holds the splits \['val'\] with other"):
            _write(**{"pseudo_labels": make(2), "directory": tmp_path} | changed)


def test_a_kill_at_any_rename_leaves_a_card_of_whole_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "IMAGES_PER_PART", 2)

    def check(folder):
        _check(folder, make(2), "val")
        splits = _head(folder)["dataset_info"]["splits"]
        counts = {one["name"]: one["num_examples"] for one in splits}
        assert counts.pop("val") == 2
        if counts:
            _check(folder, make(4) if counts["train"] == 4 else make(5, seed=1))
        return counts.get("train", 0)

    def begin(folder):
        _write(make(4), folder)
        _write(make(2), folder, split="val")

    outcomes = killed_at_every_rename(
        tmp_path, begin, lambda folder: _write(make(5, seed=1), folder), check
    )
    assert outcomes == sorted(outcomes, key=[4, 0, 5].index)
    assert set(outcomes) == {4, 0, 5}


@pytest.mark.parametrize("field", ["image", "confidence"])
def test_given_for_some_only(tmp_path, field):
    pseudo_labels = make(3)
    pseudo_labels[1] = dataclasses.replace(pseudo_labels[1], **{field: None})
    with pytest.raises(InputError, match=rf"sub/b\.png lacks `{field}`, unlike the first"):
        _write(pseudo_labels, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.delattr(pyarrow, "parquet")
    message = r"parquet is written by pyarrow, which cannot be imported.*pip install pyarrow"
    with pytest.raises(InputError, match=message):
        check_exportable(["parquet"], split="train", class_names=["cat"])
    check_exportable(["tfrecord"], split="train", class_names=["cat"])


def test_a_damaged_file_of_another_split(tmp_path):
    _write(make(2), tmp_path, split="val")
    [path] = (tmp_path / "data").iterdir()
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"Cannot read .*val-00000.*Delete the folder"):
        _write(make(2), tmp_path)
