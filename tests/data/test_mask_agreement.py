"""Masks that do not mean what the program takes them for stop it."""

import json

import numpy as np
import pytest
from tiny_datasets import HEIGHT, WIDTH, config, make_folder, make_voc, square_mask, write_mask

from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.data.mask_agreement import AGREEMENT_FILE, MISMATCHES_FILE
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError

OBJECT = np.zeros((HEIGHT, WIDTH), bool)
OBJECT[4:12, 5:15] = True


def photographs(root, labels, masks, classes=""):
    """A folder of photographs 0.jpg, 1.jpg, ... with these labels and masks."""
    lines = "".join(f"{index}.jpg,{label}\n" for index, label in enumerate(labels))
    names = tuple(f"{index}.jpg" for index in range(len(labels)))
    make_folder(root, f"{classes}file_name,labels\n{lines}", names)
    for index, mask in enumerate(masks):
        (root / "masks").mkdir(exist_ok=True)
        if mask is not None:
            write_mask(root / "masks" / f"{index}.png", mask, palette=False)
    return root


def prepared(root, out, **fields):
    return prepare(config("folder", root, options={"masks": "masks"}, **fields), out)


def test_masks_of_0_and_255_with_one_class_stop(tmp_path):
    root = photographs(tmp_path / "photos", ["leaf"] * 4, [255 * OBJECT] * 4)
    with pytest.raises(
        InputError,
        match=r"that of 0\.jpg holds the values 0, 255, but the photograph is labelled leaf\. In a "
        r"mask 0 is background, 1 leaf, and 255 is ignored\. Write the class's value where 255",
    ):
        prepared(root, tmp_path / "out")
    write_mask(root / "masks/0.png", OBJECT)
    with pytest.raises(InputError, match=r"that of 1\.jpg"):
        prepared(root, tmp_path / "out")


def test_masks_of_another_class_order_stop(tmp_path):
    labels = ["dog", "cat", "dog;cat"]
    masks = [1 * OBJECT, 2 * OBJECT, 1 * OBJECT]
    with pytest.raises(
        InputError,
        match=r"that of 0\.jpg holds the values 0, 1, but the photograph is labelled dog\. In a "
        r"mask 0 is background, 1 cat, 2 dog, .*Correct the masks' values, the order of the",
    ):
        prepared(photographs(tmp_path / "photos", labels, masks), tmp_path / "out")
    root = photographs(tmp_path / "other", labels, masks, "# classes: dog, cat\n")
    dataset = prepared(root, tmp_path / "out")
    assert [example.labels.tolist() for example in dataset.split("train")] == [[0], [1], [0, 1]]


def test_background_alone_is_kept_and_its_mask_must_be_empty(tmp_path):
    root = photographs(tmp_path / "photos", ["leaf", "background"], [1 * OBJECT, 0 * OBJECT])
    dataset = prepared(root, tmp_path / "out")
    first, second = dataset.split("train")
    assert (first.labels.tolist(), second.labels.tolist()) == ([0], [])
    assert not decode_mask(second.segmentation_mask, "").any()
    assert dataset.skipped() == []
    write_mask(root / "masks/1.png", 1 * OBJECT, palette=False)
    write_mask(root / "masks/0.png", 255 * OBJECT, palette=False)
    with pytest.raises(InputError, match=r"that of 0\.jpg"):
        prepared(root, tmp_path / "again")


def test_a_few_are_listed_and_many_stop(tmp_path):
    """One photograph of a hundred may hold a class more than its labels say, two may
    not.
    """
    labels, masks = ["cat"] * 99 + ["dog"], [1 * OBJECT] * 99 + [2 * OBJECT]
    masks[7] = 2 * OBJECT
    root = photographs(tmp_path / "photos", labels, masks)
    dataset = prepared(root, tmp_path / "out")
    assert len(dataset.split("train")) == 100
    [line] = (dataset.directory / MISMATCHES_FILE).read_text().splitlines()
    assert json.loads(line) == {
        "split": "train",
        "file_name": "7.jpg",
        "values": [0, 2],
        "labels": ["cat"],
    }
    write_mask(root / "masks/8.png", 2 * OBJECT)  # with a palette: of another length
    with pytest.raises(InputError, match=r"that of 7\.jpg holds the values 0, 2"):
        prepared(root, tmp_path / "out")
    with pytest.raises(InputError, match=r"mask_mismatches is 2; set it to a share"):
        prepared(root, tmp_path / "out", mask_mismatches=2)
    assert len(prepared(root, tmp_path / "out", mask_mismatches=0.02).split("train")) == 100


def test_a_lower_share_is_told_of_prepared_masks_too(tmp_path):
    """As of masks that are prepared now, and nothing is prepared again."""
    labels = ["cat", "cat", "dog;cat"]
    root = photographs(tmp_path / "photos", labels, [1 * OBJECT, 255 * OBJECT, 2 * OBJECT])
    dataset = prepared(root, tmp_path / "out", mask_mismatches=0.4)
    written = (dataset.directory / "made_of.json").stat().st_mtime_ns
    told = []
    for out in ("out", "fresh"):
        with pytest.raises(InputError, match=r"that of 1\.jpg holds the values 0, 255, ") as raised:
            prepared(root, tmp_path / out, mask_mismatches=0.3)
        told.append(str(raised.value))
    assert told[0] == told[1]
    prepared(root, tmp_path / "out", mask_mismatches=0.4)
    assert (dataset.directory / "made_of.json").stat().st_mtime_ns == written
    (dataset.directory / AGREEMENT_FILE).write_text('{"train": {"masks": "3"}}')
    with pytest.raises(InputError, match=r"cannot be read .*Delete the folder"):
        prepared(root, tmp_path / "out", mask_mismatches=0.4)


def test_the_share_is_of_the_masks_not_of_the_photographs(tmp_path):
    masks = [None] * 98 + [1 * OBJECT, 2 * OBJECT]
    root = photographs(tmp_path / "photos", ["dog"] + ["cat"] * 99, masks)
    with pytest.raises(InputError, match=r"that of 99\.jpg holds the values 0, 2"):
        prepared(root, tmp_path / "out")


def test_masks_of_voc_are_compared_with_its_annotations(tmp_path):
    root = make_voc(tmp_path / "VOC2012", {"train": {"a": ("cat",), "b": ("dog",)}})
    assert len(prepare(config("voc_seg", root), tmp_path / "out").split("train")) == 2
    write_mask(root / "SegmentationClass/b.png", square_mask(255))
    with pytest.raises(InputError, match=r"that of b\.jpg holds the values 0, 255, .* dog"):
        prepare(config("voc_seg", root), tmp_path / "out")


@pytest.mark.parametrize("numbers", [("0", "1"), ("1", "3")])
def test_numbers_that_are_not_the_masks_values_are_asked_about(tmp_path, numbers):
    root = photographs(tmp_path / "photos", numbers, [1 * OBJECT, 2 * OBJECT])
    with pytest.raises(
        InputError, match=r"the labels are the numbers .*Write a first line '# classes: \.\.\.'"
    ):
        prepared(root, tmp_path / "out")
    declared = f"# classes: {', '.join(numbers)}\n"
    root = photographs(tmp_path / "declared", numbers, [1 * OBJECT, 2 * OBJECT], declared)
    assert prepared(root, tmp_path / "out").class_names == numbers
    assert prepare(config("folder", tmp_path / "photos"), tmp_path / "out").class_names == numbers


def test_numbers_that_are_the_masks_values_are_not(tmp_path):
    root = photographs(tmp_path / "photos", ["2", "1"], [2 * OBJECT, 1 * OBJECT])
    assert prepared(root, tmp_path / "out").class_names == ("1", "2")
