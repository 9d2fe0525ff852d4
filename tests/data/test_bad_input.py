"""Each kind of bad input: the message names the file, the field and the cure; 'skip'
lists the record and goes on.
"""

import json
import re

import numpy as np
import pytest
from PIL import Image
from tiny_datasets import (
    COCO_CATEGORIES,
    annotation,
    box,
    config,
    jpeg,
    make_coco,
    make_folder,
    make_voc,
    write,
    write_mask,
)

from hfpl_jax.data.example import decode_image, decode_mask
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError

VOC = {"train": {"a": ("cat",), "b": ("dog",), "c": ("cow",)}}


@pytest.fixture
def voc(tmp_path):
    return make_voc(tmp_path / "VOC2012", VOC)


def _break_jpeg(root):
    path = root / "JPEGImages/b.jpg"
    path.write_bytes(path.read_bytes()[:-150])  # the header is whole: only a full decode sees it


BAD_VOC_RECORDS = {
    "absent image": (
        lambda root: (root / "JPEGImages/b.jpg").unlink(),
        r"Cannot read .*JPEGImages/b\.jpg .*train.*off the list",
    ),
    "truncated image": (
        _break_jpeg,
        r"JPEGImages/b\.jpg cannot be decoded .*truncated.*download it again",
    ),
    "not jpeg": (
        lambda root: Image.new("RGB", (30, 20)).save(root / "JPEGImages/b.jpg", "BMP"),
        r"b\.jpg cannot be decoded \(it is a BMP picture, not JPEG or PNG\)\. "
        r"Save it as JPEG or PNG",
    ),
    "mask of another size": (
        lambda root: write_mask(root / "SegmentationClass/b.png", np.zeros((20, 29))),
        r"SegmentationClass/b\.png is 29x20 pixels, but its photograph is 30x20\..*resize",
    ),
    "mask with another class": (
        lambda root: write_mask(root / "SegmentationClass/b.png", np.full((20, 30), 21)),
        r"SegmentationClass/b\.png holds the values \[21\], but there are 20 classes",
    ),
    "mask of colours": (
        lambda root: Image.new("RGB", (30, 20)).save(root / "SegmentationClass/b.png"),
        r"SegmentationClass/b\.png has mode RGB.*save it as",
    ),
    "damaged mask": (
        lambda root: write(
            root / "SegmentationClass/b.png", (root / "SegmentationClass/b.png").read_bytes()[:60]
        ),
        r"The mask .*SegmentationClass/b\.png cannot be decoded.*again",
    ),
    "absent mask": (
        lambda root: (root / "SegmentationClass/b.png").unlink(),
        r"b\.jpg has no mask: .*SegmentationClass/b\.png and .* are not there\. Put it there",
    ),
    "absent annotation": (
        lambda root: (root / "Annotations/b.xml").unlink(),
        r"Cannot read .*Annotations/b\.xml.*b\.jpg takes its labels",
    ),
    "unknown class": (
        lambda root: write(root / "Annotations/b.xml", annotation("dgo")),
        r"Annotations/b\.xml names an object 'dgo', which is none of the 20 classes.*<name>",
    ),
    "no labels": (
        lambda root: write(root / "Annotations/b.xml", annotation()),
        r"Annotations/b\.xml names no object.*Add an <object>",
    ),
    "broken annotation": (
        lambda root: write(root / "Annotations/b.xml", "<annotation>"),
        r"b\.xml is not well-formed XML",
    ),
    "name outside": (
        lambda root: write(root / "ImageSets/Segmentation/train.txt", "a\n../b\nc\n"),
        r"file name '\.\./b\.jpg' does not lie inside the image folder",
    ),
}


@pytest.mark.parametrize("case", BAD_VOC_RECORDS)
def test_bad_voc_record(tmp_path, voc, case):
    damage, message = BAD_VOC_RECORDS[case]
    damage(voc)
    with pytest.raises(InputError, match=message):
        prepare(config("voc_seg", voc), tmp_path / "out")
    assert not (tmp_path / "out/voc_seg/1.0.0").exists()
    dataset = prepare(config("voc_seg", voc, on_bad_record="skip"), tmp_path / "out")
    assert [example.file_name for example in dataset.split("train")] == ["a.jpg", "c.jpg"]
    [skipped] = dataset.skipped()
    assert skipped["split"] == "train"
    assert skipped["file_name"].endswith("b.jpg")
    assert re.search(message, skipped["reason"])


def test_a_photograph_listed_twice(tmp_path, voc):
    write(voc / "ImageSets/Segmentation/train.txt", "a\nb\na\n")
    with pytest.raises(InputError, match=r"a\.jpg is listed twice in split train"):
        prepare(config("voc_seg", voc), tmp_path / "out")
    assert (
        len(prepare(config("voc_seg", voc, on_bad_record="skip"), tmp_path / "out").split("train"))
        == 2
    )


def test_missing_roots_and_lists(tmp_path, voc):
    for name in ("voc_seg", "coco_seg", "folder"):
        with pytest.raises(InputError, match=r"config\.data\.root = '.*nowhere' is no folder"):
            prepare(config(name, tmp_path / "nowhere"), tmp_path / "out")
    with pytest.raises(InputError, match=r"config\.data\.root is empty"):
        prepare({"name": "folder", "root": ""}, tmp_path / "out")
    with pytest.raises(InputError, match=r"is not VOC 2012: .*JPEGImages.*VOCtrainval"):
        prepare(config("voc_seg", voc / "Annotations"), tmp_path / "out")
    (voc / "ImageSets/Segmentation/train.txt").unlink()
    with pytest.raises(
        InputError, match=r"Cannot read .*ImageSets/Segmentation/train\.txt .*official list"
    ):
        prepare(config("voc_seg", voc), tmp_path / "out")
    with pytest.raises(
        InputError, match="has no photographs of split train: none of train2017, images/train2017"
    ):
        prepare(config("coco_seg", voc), tmp_path / "out")
    (voc / "train2017").mkdir()
    with pytest.raises(
        InputError,
        match=r"Cannot read .*annotations/instances_train2017\.json "
        r".*annotations_trainval2017\.zip",
    ):
        prepare(config("coco_seg", voc), tmp_path / "out")
    with pytest.raises(InputError, match=r"Cannot read the label file .*labels\.csv"):
        prepare(config("folder", voc), tmp_path / "out")


@pytest.mark.parametrize("on_bad_record", ["raise", "skip"])
def test_empty_splits(tmp_path, voc, on_bad_record):
    write(voc / "ImageSets/Segmentation/train.txt", "\n")
    with pytest.raises(
        InputError, match=r"Split train of voc_seg in .* is empty: 0 records listed"
    ):
        prepare(config("voc_seg", voc, on_bad_record=on_bad_record), tmp_path / "out")
    folder = make_folder(tmp_path / "photos", "# classes: a\nfile_name,labels\n", ())
    with pytest.raises(InputError, match=r"Split train of folder in .* is empty: 0 records listed"):
        prepare(config("folder", folder, on_bad_record=on_bad_record), tmp_path / "out")


def test_a_split_that_is_empty_because_all_was_skipped(tmp_path, voc):
    for path in (voc / "JPEGImages").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="is empty: 3 records listed, 3 left out"):
        prepare(config("voc_seg", voc, on_bad_record="skip"), tmp_path / "out")


BAD_CSV_LINES = {
    "3.jpg,cat,extra": r"labels\.csv, line 4 has 3 fields, but the header has 2",
    "3.jpg": r"labels\.csv, line 4 has 1 fields, but the header has 2",
    '"3.jpg,cat': r"labels\.csv, line 4 cannot be read as CSV .*Check its quotes",
    "3.jpg,cta": r"labels\.csv, line 4 gives 3\.jpg the label 'cta', "
    r"which is none of the classes cat, dog \(did you mean 'cat'\?\)",
    "3.jpg,": r"labels\.csv, line 4 gives 3\.jpg no labels\. Name at least one",
    ",cat": r"labels\.csv, line 4: the file name '' does not lie",
    "/etc/3.jpg,cat": r"labels\.csv, line 4: the file name '/etc/3\.jpg' does not lie inside"
    r".*without '\.\.'",
    "4.jpg,cat": r"Cannot read .*4\.jpg .*split train of folder lists it",
}


@pytest.mark.parametrize("line", BAD_CSV_LINES)
def test_bad_csv_line(tmp_path, line):
    text = f"# classes: cat, dog\nfile_name,labels\n1.jpg,cat\n{line}\n2.jpg,dog\n"
    root = make_folder(tmp_path / "photos", text, ("1.jpg", "2.jpg", "3.jpg"))
    with pytest.raises(InputError, match=BAD_CSV_LINES[line]):
        prepare(config("folder", root), tmp_path / "out")
    dataset = prepare(config("folder", root, on_bad_record="skip"), tmp_path / "out")
    assert [example.file_name for example in dataset.split("train")] == ["1.jpg", "2.jpg"]
    [skipped] = dataset.skipped()
    assert re.search(BAD_CSV_LINES[line], skipped["reason"])


BAD_LABEL_FILES = {
    "# classes: cat, dog, cat\nfile_name,labels\n": "names the class 'cat' twice",
    "# classes: cat, Background\nfile_name,labels\n": "names a class 'Background'. Remove it",
    "# classes: cat,,dog\nfile_name,labels\n": "class number 2 is ''",
    "# classes: cat\n# classes: dog\nfile_name,labels\n": "line 2 names the classes a second time",
    "file_name,labels\n": "names no class",
    b"file_name,labels\n1.jpg,caf\xe9\n": "line 2 is not UTF-8",
    '{"classes": ["cat", "cat"], "images": []}': "names the class 'cat' twice",
    '{"classes": ["cat"], "images": [': "is not JSON",
    '{"images": []}': 'must be an object with the lists "classes" and "images"',
}


@pytest.mark.parametrize("text", BAD_LABEL_FILES)
@pytest.mark.parametrize("on_bad_record", ["raise", "skip"])
def test_bad_label_file(tmp_path, text, on_bad_record):
    name = "labels.json" if text[:1] == "{" else "labels.csv"
    write(tmp_path / name, text)
    with pytest.raises(InputError, match=f"{name}.*{re.escape(BAD_LABEL_FILES[text])}"):
        prepare(
            config("folder", tmp_path, options={"labels": name}, on_bad_record=on_bad_record),
            tmp_path / "out",
        )


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"file_name": "1.jpg", "labels": ["cow"]}, r"images\[0\] gives 1\.jpg the label 'cow'"),
        ({"file_name": "1.jpg", "labels": [0]}, r"images\[0\] gives 1\.jpg the label 0"),
        ({"file_name": "1.jpg", "labels": "cat"}, r"images\[0\] must be an object"),
        ({"file_name": 1, "labels": ["cat"]}, r"images\[0\] has the file_name 1"),
        (
            {"file_name": "1.jpg", "labels": ["cat"], "split": ""},
            r"images\[0\] has the split ''\. Write train or val",
        ),
    ],
)
def test_bad_json_image(tmp_path, image, message):
    root = make_folder(
        tmp_path / "photos",
        json.dumps({"classes": ["cat"], "images": [image]}),
        ("1.jpg",),
        "labels.json",
    )
    with pytest.raises(InputError, match=message):
        prepare(config("folder", root, options={"labels": "labels.json"}), tmp_path / "out")


def _save(root, content):
    write(root / "annotations/instances_val2017.json", json.dumps(content))


def test_bad_coco(tmp_path):
    root = tmp_path / "coco"
    objects = [{"category_id": 1, "segmentation": box(0, 0, 9, 9)}]
    make_coco(root, "train", {1: objects})
    good = make_coco(root, "val", {2: objects, 3: objects})
    image, item = good["images"][0], good["annotations"][0]

    def raises(message, **changes):
        _save(root, {**good, **changes})
        with pytest.raises(InputError, match=message):
            prepare(config("coco_seg", root), tmp_path / "out")

    renamed = [*COCO_CATEGORIES[:-1], {"id": 200, "name": "toothpick"}]
    raises(
        r"'categories' of .*instances_val2017\.json name 'toothpick', which is none of the 80",
        categories=renamed,
    )
    raises(
        r"instances_val2017\.json: annotation 1 belongs to the photograph of id 99, which 'images' "
        r"does not list\. Remove",
        annotations=[{**item, "image_id": 99}],
    )
    raises(
        r"000000000002\.jpg: annotation 1 has category_id 2, which 'categories' does not declare",
        annotations=[{**item, "category_id": 2}],
    )
    raises(
        "'segmentation' of annotation 1 cannot be drawn",
        annotations=[{**item, "segmentation": {"size": [3, 3], "counts": [9]}}],
    )
    raises(
        "'width' and 'height' say 31x20, but the photograph is 30x20",
        images=[{**image, "width": 31}, good["images"][1]],
    )
    raises(
        r"Cannot read .*val2017/no\.jpg",
        images=[{**image, "id": 4, "file_name": "no.jpg"}, *good["images"]],
    )

    _save(root, {**good, "images": [{**image, "width": 31}, good["images"][1]]})
    dataset = prepare(config("coco_seg", root, on_bad_record="skip"), tmp_path / "out")
    assert [example.file_name for example in dataset.split("val")] == ["000000000003.jpg"]
    assert [skipped["file_name"] for skipped in dataset.skipped()] == ["000000000002.jpg"]

    for options, message in (
        ({"year": "2015"}, r"options\.year is '2015'"),
        ({"mask_rule": "last"}, r"options\.mask_rule is 'last'"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(config("coco_seg", root, options=options), tmp_path / "out")


@pytest.mark.parametrize("cut", [1, 3, 100, -3, -200])
def test_every_cut_of_a_jpeg_is_seen(cut):
    with pytest.raises(InputError, match=r"x\.jpg cannot be decoded"):
        decode_image(jpeg(size=(64, 64))[:cut], "x.jpg")


def test_decode_converts_gray_and_refuses_16_bit_masks(tmp_path):
    Image.fromarray(np.full((3, 5), 7, np.uint8)).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(
        decode_image((tmp_path / "gray.png").read_bytes(), "gray.png"), np.full((3, 5, 3), 7)
    )
    Image.fromarray(np.full((3, 5), 700, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep\.png has mode I;16"):
        decode_mask((tmp_path / "deep.png").read_bytes(), "deep.png")
