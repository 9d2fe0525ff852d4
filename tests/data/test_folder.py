import json

import numpy as np
import pytest
from tiny_datasets import config, make_folder, square_mask, write_mask

from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.data.label_file import read_label_file
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError


def test_csv_with_declared_classes_splits_and_masks(tmp_path):
    text = (
        "# classes: traffic light, cat, dog\nfile_name,labels,split\n"
        "street/1.jpg,dog;traffic light,train\n2.jpg,traffic light,val\n3.jpg,dog;cat,val\n"
    )
    root = make_folder(tmp_path / "photos", text, ("street/1.jpg", "2.jpg", "3.jpg"))
    write_mask(root / "masks/street/1.png", square_mask(3), palette=False)
    data = config("folder", root, train_split="train", val_split="val", options={"masks": "masks"})
    dataset = prepare(data, tmp_path / "out")
    assert dataset.class_names == ("traffic light", "cat", "dog")  # their order, not the alphabet's
    [first] = dataset.split("train")
    assert (first.file_name, first.labels.tolist()) == ("street/1.jpg", [0, 2])
    np.testing.assert_array_equal(decode_mask(first.segmentation_mask, ""), square_mask(3))
    assert [example.labels.tolist() for example in dataset.split("val")] == [[0], [1, 2]]
    assert dataset.split("val")[0].segmentation_mask is None


def test_without_a_classes_line_the_labels_seen_are_the_classes(tmp_path):
    root = make_folder(
        tmp_path, "\ufefffile_name,labels\r\n1.jpg,sheep;dog\r\n\r\n2.jpg,cow\r\n", ()
    )
    contents = read_label_file(root / "labels.csv")
    assert contents.class_names == ("cow", "dog", "sheep")
    entries = [(entry.file_name, entry.labels, entry.split) for entry in contents.entries]
    assert entries == [("1.jpg", (1, 2), "train"), ("2.jpg", (0,), "train")]


def test_columns_in_any_order_and_quoted_names(tmp_path):
    root = make_folder(tmp_path, '# made by hand\nsplit,labels,file_name\nval,a;b,"x, y.jpg"\n', ())
    [entry] = read_label_file(root / "labels.csv").entries
    assert (entry.file_name, entry.labels, entry.split, entry.error) == (
        "x, y.jpg",
        (0, 1),
        "val",
        None,
    )


def test_json(tmp_path):
    images = [
        {"file_name": "1.jpg", "labels": ["red fox", "owl"]},
        {"file_name": "2.jpg", "labels": ["owl"], "split": "val"},
    ]
    text = json.dumps({"classes": ["owl", "red fox"], "images": images})
    root = make_folder(tmp_path / "photos", text, ("1.jpg", "2.jpg"), "labels.json")
    dataset = prepare(
        config("folder", root, val_split="val", options={"labels": "labels.json"}), tmp_path / "out"
    )
    assert dataset.class_names == ("owl", "red fox")
    assert dataset.split("train")[0].labels.tolist() == [0, 1]
    assert dataset.split("val")[0].labels.tolist() == [0]


@pytest.mark.parametrize("text", ["1.jpg,a", "a,b\n1.jpg,a", ""])
def test_a_csv_without_header_is_refused(tmp_path, text):
    root = make_folder(tmp_path, text, ())
    with pytest.raises(ValueError, match=r"labels\.csv, line 1: the header is"):
        read_label_file(root / "labels.csv")


@pytest.mark.parametrize("option", ["labels", "masks"])
@pytest.mark.parametrize("value", [3, True, None, ["a.csv"]])
def test_an_option_that_is_no_path_is_named(tmp_path, option, value):
    root = make_folder(tmp_path / "photos", "file_name,labels\n1.jpg,cat\n", ("1.jpg",))
    with pytest.raises(InputError) as told:
        prepare(config("folder", root, options={option: value}), tmp_path / "out")
    assert str(told.value).startswith(
        f"config.data.options.{option} is {value!r}. Set it to a path"
    )


def test_a_split_without_rows_is_told_with_both_cures(tmp_path):
    text = "file_name,labels,split\n1.jpg,cat,train\n2.jpg,cat,test\n"
    root = make_folder(tmp_path / "photos", text, ("1.jpg", "2.jpg"))
    with pytest.raises(
        InputError, match=r"no split 'val'; it has train, test\. .*_split='', or add"
    ):
        prepare(config("folder", root, train_split="train", val_split="val"), tmp_path / "out")
