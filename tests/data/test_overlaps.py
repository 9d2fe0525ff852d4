"""A photograph that is trained on is not scored as val, unless that is allowed."""

import json

import pytest
from tiny_datasets import config, jpeg, make_folder, make_voc, write

from hfpl_jax.data.overlaps import OVERLAPS_FILE
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError

HEAD = "file_name,labels,split\n"


def used(root, **fields):
    return config("folder", root, **{"train_split": "train", "val_split": "val", **fields})


def test_one_name_in_two_splits(tmp_path):
    text = f"{HEAD}1.jpg,a,train\n2.jpg,a,train\n2.jpg,a,val\n3.jpg,a,val\n"
    root = make_folder(tmp_path / "photos", text, ("1.jpg", "2.jpg", "3.jpg"))
    with pytest.raises(
        InputError,
        match=r"split train .* are in split val as well \(1, beginning with 2\.jpg\), .*"
        r"Remove them from one of the two, or set config\.data\.allow_overlap = True",
    ):
        prepare(used(root), tmp_path / "out")
    with pytest.raises(InputError, match=r"2\.jpg"):  # prepared, but still refused
        prepare(used(root), tmp_path / "out")
    dataset = prepare(used(root, allow_overlap=True), tmp_path / "out")
    assert [len(dataset.split(split)) for split in ("train", "val")] == [2, 2]
    assert prepare(used(root, val_split=""), tmp_path / "out").splits == ("train", "val")


def test_one_photograph_under_two_names(tmp_path):
    root = make_folder(
        tmp_path / "photos", f"{HEAD}1.jpg,a,train\n2.jpg,a,part\n3.jpg,a,val\n", ("1.jpg", "2.jpg")
    )
    write(root / "3.jpg", jpeg(1))  # 2.jpg again
    assert prepare(used(root), tmp_path / "out").splits == ("train", "part", "val")
    with pytest.raises(
        InputError, match=r"split part .*val as well \(1, beginning with 2\.jpg \(as 3\.jpg\)\)"
    ):
        prepare(used(root, label_split="part"), tmp_path / "out")


def test_train_and_val_are_the_same_split(tmp_path):
    root = make_folder(tmp_path / "photos", "file_name,labels\n1.jpg,a\n", ("1.jpg",))
    with pytest.raises(
        InputError, match=r"train_split and config\.data\.val_split are both 'train'"
    ):
        prepare(used(root, val_split="train"), tmp_path / "out")
    dataset = prepare(used(root, val_split="train", allow_overlap=True), tmp_path / "out")
    assert len(dataset.split("train")) == 1


def test_a_part_of_the_training_split_may_choose_the_threshold(tmp_path):
    """VOC's train lies within its trainaug."""
    train = {"a": ("cat",), "b": ("dog",)}
    splits = {"train": train, "trainaug": train | {"c": ("cow",)}, "val": {"d": ("cat",)}}
    root = make_voc(tmp_path / "VOC2012", splits)
    fields = {"train_split": "trainaug", "score_split": "train", "val_split": "val"}
    dataset = prepare(config("voc_seg", root, **fields), tmp_path / "out")
    overlaps = json.loads((dataset.directory / OVERLAPS_FILE).read_text())
    assert overlaps == [
        {
            "splits": ["train", "trainaug"],
            "same_name": 2,
            "other_name": 0,
            "first": ["a.jpg", "a.jpg"],
        }
    ]


def test_twins_in_the_splits_of_a_published_dataset_are_warned_of(tmp_path, caplog):
    """Who runs a benchmark cannot mend its lists."""
    splits = {"train": {"a": ("cat",)}, "val": {"b": ("cat",)}}
    root = make_voc(tmp_path / "VOC2012", splits)
    write(root / "JPEGImages/b.jpg", (root / "JPEGImages/a.jpg").read_bytes())
    fields = {"train_split": "train", "val_split": "val"}
    prepare(config("voc_seg", root, **fields), tmp_path / "out")
    [warning] = [text for text in caplog.messages if "in split val as well" in text]
    assert "(1, beginning with a.jpg (as b.jpg))" in warning
    write(root / "ImageSets/Segmentation/val.txt", "b\na\n")
    with pytest.raises(InputError, match=r"in split val as well \(1, beginning with a\.jpg\)"):
        prepare(config("voc_seg", root, **fields), tmp_path / "out")


def test_a_damaged_list_is_told(tmp_path):
    root = make_folder(
        tmp_path / "photos", f"{HEAD}1.jpg,a,train\n2.jpg,a,val\n", ("1.jpg", "2.jpg")
    )
    dataset = prepare(used(root), tmp_path / "out")
    (dataset.directory / OVERLAPS_FILE).write_text('[{"splits": 3}]')
    with pytest.raises(InputError, match=r"cannot be read .*Delete the folder"):
        prepare(used(root), tmp_path / "out")
