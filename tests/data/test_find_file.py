import shutil
import unicodedata

import numpy as np
import pytest
from tiny_datasets import (
    HEIGHT,
    WIDTH,
    config,
    jpeg,
    make_folder,
    make_voc,
    square_mask,
    write,
    write_mask,
)

from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.data.find_file import Finder
from hfpl_jax.data.mask_file import find_mask
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError


def test_a_name_in_another_normal_form_is_found(tmp_path):
    """As a spreadsheet writes it, and as an archive from macOS unpacks it."""
    written, on_disk = (unicodedata.normalize(form, "été/café.jpg") for form in ("NFC", "NFD"))
    root = make_folder(tmp_path / "photos", f"file_name,labels\n{written},a\n", (on_disk,))
    write_mask(root / "masks" / on_disk.replace(".jpg", ".png"), square_mask(1))
    dataset = prepare(config("folder", root, options={"masks": "masks"}), tmp_path / "out")
    [example] = dataset.split("train")
    assert example.file_name == written
    assert example.image == jpeg(0)
    assert example.segmentation_mask is not None


@pytest.mark.parametrize(
    ("listed", "meant"),
    [
        ("sub\\\\a.jpg", "'sub/a.jpg', with '/' between folders"),
        ("sub/a.JPG", "'sub/a.jpg'"),
        ("sub/a", "'sub/a.jpg'"),
        ("sub/a.jpeg", "'sub/a.jpg'"),
    ],
)
def test_a_name_that_is_not_there_is_met_with_the_one_meant(tmp_path, listed, meant):
    root = make_folder(tmp_path / "photos", "", ("sub/a.jpg",))
    write(root / "labels.csv", f"file_name,labels\n{listed.replace(chr(92) * 2, chr(92))},cat\n")
    with pytest.raises(InputError, match=r"line 2\) \(did you mean " + meant):
        prepare(config("folder", root), tmp_path / "out")


def test_masks_that_belong_to_no_photograph_are_not_passed_over(tmp_path):
    root = make_folder(tmp_path / "photos", "file_name,labels\na.jpg,cat\n", ("a.jpg",))
    write(root / "masks/a.gif", b"GIF89a")
    with pytest.raises(
        InputError, match=r"none of the 1 photographs has a mask .*'a\.png' \(did you mean 'a\.gif'"
    ):
        prepare(config("folder", root, options={"masks": "masks"}), tmp_path / "out")


NAMES = ("a.jpg", "B.JPG", "sub/c.jpg")


@pytest.fixture
def photos(tmp_path):
    rows = "".join(f"{name},cat\n" for name in NAMES)
    return make_folder(tmp_path / "photos", f"file_name,labels\n{rows}", NAMES)


def prepared(root, tmp_path, **fields):
    fields = {"options": {"masks": "masks"}, **fields}
    return prepare(config("folder", root, **fields), tmp_path / "out")


def test_the_case_of_a_masks_extension_does_not_matter(photos, tmp_path):
    for size, name in enumerate(("a.png", "B.PNG", "sub/c.Png"), start=4):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:size] = 1
        write_mask(tmp_path / "one.png", mask)
        write(photos / "masks" / name, (tmp_path / "one.png").read_bytes())
    examples = prepared(photos, tmp_path).split("train")
    assert [example.file_name for example in examples] == list(NAMES)
    areas = [int(decode_mask(example.segmentation_mask, "").sum()) for example in examples]
    assert areas == [4 * WIDTH, 5 * WIDTH, 6 * WIDTH]


def test_two_masks_of_one_photograph_stop(photos, tmp_path):
    write_mask(photos / "masks/sub/c.png", square_mask(1))
    (photos / "masks/sub/c.PNG").write_bytes((photos / "masks/sub/c.png").read_bytes())
    told = r"sub/c\.jpg has two masks in .*masks, 'sub/c\.PNG' and 'sub/c\.png', .* Remove one"
    with pytest.raises(InputError, match=told):
        prepared(photos, tmp_path)
    dataset = prepared(photos, tmp_path, on_bad_record="skip")
    assert [line["file_name"] for line in dataset.skipped()] == ["sub/c.jpg"]


def test_a_mask_whose_name_is_in_another_case_is_asked_about(photos, tmp_path):
    write_mask(photos / "masks/a.png", square_mask(1))
    write_mask(photos / "masks/b.png", square_mask(1))
    with pytest.raises(
        InputError,
        match=r"B\.JPG has no mask 'B\.png' in .*, but 'b\.png' differs only in the case",
    ):
        prepared(photos, tmp_path)


def test_two_photographs_do_not_share_a_mask(tmp_path):
    names = ("a.jpg", "a.JPG", "A.jpg")
    rows = "".join(f"{name},cat\n" for name in names)
    root = make_folder(tmp_path / "photos", f"file_name,labels\n{rows}", names)
    write_mask(root / "masks/A.png", square_mask(1))
    examples = prepared(root, tmp_path).split("train")  # a mask of its own, and two without
    masked = {example.file_name: example.segmentation_mask is not None for example in examples}
    assert masked == {"a.jpg": False, "a.JPG": False, "A.jpg": True}
    write_mask(root / "masks/a.png", square_mask(1))
    with pytest.raises(
        InputError, match=r"'a\.JPG' and 'a\.jpg' would both have the mask .*masks/a\.png\. Rename"
    ):
        prepared(root, tmp_path)


def test_a_label_file_in_another_case_is_met_with_its_name(photos, tmp_path):
    (photos / "labels.csv").rename(photos / "labels.CSV")
    with pytest.raises(
        InputError,
        match=r"label file .*labels\.csv \(.*\) \(did you mean 'labels\.CSV'\?\)\. Write",
    ):
        prepared(photos, tmp_path)


def test_masks_of_trainaug_are_found_in_any_case(tmp_path):
    """Where a photograph may be without one, a mask that is passed over is not told."""
    splits = {"train": {"b": ("dog",)}, "trainaug": {"a": ("cat",), "b": ("dog",)}}
    root = make_voc(tmp_path / "VOC2012", splits)
    folder = root / "SegmentationClass"
    (folder / "a.png").rename(folder / "a.PNG")
    data = config("voc_seg", root, train_split="trainaug")
    examples = prepare(data, tmp_path / "out").split("trainaug")
    assert [decode_mask(example.segmentation_mask, "").max() for example in examples] == [255, 255]
    shutil.copy(folder / "a.PNG", folder / "a.pnG")
    with pytest.raises(InputError, match=r"a\.jpg has two masks in .*SegmentationClass, 'a\.PNG'"):
        prepare(data, tmp_path / "out")


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a\0.png", "é\0.png", "b/../../a.png"])
def test_no_mask_is_looked_for_outside_of_its_folder(tmp_path, name):
    """The record of such a name is refused when it is read."""
    masks = tmp_path / "masks"
    masks.mkdir()
    write(tmp_path / "a.PNG", b"")
    assert find_mask(Finder(masks), name, "a.jpg", ()) == masks / name
