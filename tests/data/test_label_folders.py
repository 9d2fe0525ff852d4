"""Image labels of one's own photographs from the folders that they lie in."""

import logging

import pytest
from tiny_datasets import config, jpeg, square_mask, write, write_mask

from hfpl_jax.data.label_folders import read_label_folders
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError


def photographs(root, *names, same=()):
    for seed, name in enumerate(names):
        write(root / name, jpeg(0 if name in same else seed + 1))
    return root


def read(root, *names, **options):
    found = read_label_folders(photographs(root, *names), **options)
    entries = {one.file_name: (one.split, one.labels) for one in found.entries}
    assert not any(one.error for one in found.entries)
    return found.class_names, entries


def test_a_folder_a_class(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write(tmp_path / "cat" / "notes.txt", "")
    write(tmp_path / "cat" / ".hidden.jpg", "")
    names = ("traffic light/1.jpg", "cat/1.PNG", "cat/2.jpeg", "background/x.jpg")
    assert read(tmp_path, *names) == (
        ("cat", "traffic light"),
        {
            "background/x.jpg": ("train", ()),
            "cat/1.PNG": ("train", (0,)),
            "cat/2.jpeg": ("train", (0,)),
            "traffic light/1.jpg": ("train", (1,)),
        },
    )
    assert caplog.messages == ["1 other files are left out, such as cat/notes.txt."]


def test_splits_above_the_classes(tmp_path):
    assert read(tmp_path, "train/10/1.jpg", "train/9/1.jpg", "val/10/2.jpg") == (
        ("9", "10"),  # numbers in their order
        {"train/10/1.jpg": ("train", (1,)), "train/9/1.jpg": ("train", (0,))}
        | {"val/10/2.jpg": ("val", (1,))},
    )


def test_a_class_may_be_called_train(tmp_path):
    classes, entries = read(tmp_path, "train/1.jpg", "ship/1.jpg")
    assert (classes, entries["train/1.jpg"]) == (("ship", "train"), ("train", (1,)))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"There is no photograph in .*no file that ends in \.jpg"),
        (["1.jpg"], r"/1\.jpg lies in no folder of a class"),
        (["cat/1.jpg", "dog/2.jpg", "3.jpg"], r"/3\.jpg lies in no folder of a class"),
        (["cat/1.jpg", "dog/2.jpg", "cat/a/3.jpg"], r"/cat/a/3\.jpg lies .* deeper than one"),
        (["cat/2020/1.jpg", "cat/2021/2.jpg"], r"the folder 'cat', whose name is that of no split"),
        (["train/1.jpg", "val/2.jpg"], r"train, val, which can be read as splits or as classes"),
        (["none/1.jpg", "cat/2.jpg"], r"/none/1\.jpg lies in a folder 'none': .*Call it backgr"),
        (["cat/1.jpg", "Cat/2.jpg"], r"the classes 'Cat' and 'cat', which look like one"),
    ],
)
def test_what_can_be_read_in_two_ways_is_asked(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, *names)


def test_a_photograph_in_the_folders_of_two_classes(tmp_path):
    names = ("cat/1.jpg", "dog/x.jpg", "cat/copy.jpg")
    photographs(tmp_path, *names, same=names)
    with pytest.raises(
        InputError,
        match=r"cat/1\.jpg and .*dog/x\.jpg are the same photograph\. .* dog/x\.jpg,cat;dog\.",
    ):
        read_label_folders(tmp_path)


def prepared(root, out, **options):
    options = {"labels": "folders", **options}
    return prepare(config("folder", root, options=options), out)


def test_prepared_and_again_when_a_photograph_is_moved(tmp_path):
    root = photographs(tmp_path / "photos", "cat/1.jpg", "cat/2.jpg", "dog/3.jpg")
    write_mask(root / "masks/cat/1.png", square_mask(1))  # no class of this name

    def labels():
        dataset = prepared(root, tmp_path / "out", masks="masks")
        assert dataset.class_names == ("cat", "dog")
        masks = {one.file_name for one in dataset.split("train") if one.segmentation_mask}
        assert masks == {"cat/1.jpg"}
        return {one.file_name: one.labels.tolist() for one in dataset.split("train")}

    assert labels() == {"cat/1.jpg": [0], "cat/2.jpg": [0], "dog/3.jpg": [1]}
    (root / "cat/2.jpg").rename(root / "dog/2.jpg")
    assert labels() == {"cat/1.jpg": [0], "dog/2.jpg": [1], "dog/3.jpg": [1]}


def test_without_a_label_file_the_other_way_is_named(tmp_path):
    photographs(tmp_path / "photos", "cat/1.jpg")
    with pytest.raises(InputError, match=r"Cannot read the label file .*'folders' takes the fold"):
        prepare(config("folder", tmp_path / "photos"), tmp_path / "out")
