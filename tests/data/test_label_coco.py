"""Image labels of one's own photographs from a COCO file of any categories."""

import json

import pytest
from tiny_datasets import box, config, jpeg, write

from hfpl_jax.data.label_file import read_label_file
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError

CATEGORIES = [{"id": 7, "name": "owl"}, {"id": 2, "name": "red fox"}, {"id": 40, "name": "elk"}]


def image(number, **fields):
    return {"id": number, "file_name": f"{number}.jpg"} | fields


def of(number, category, **fields):
    return {"image_id": number, "category_id": category, "bbox": [0, 0, 4, 4]} | fields


def content(images, annotations):
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


GOOD = content(
    [image(3, file_name="a/b.jpg"), image(1), image(2)],
    [
        of(3, 40),  # a box alone
        of(3, 2, segmentation=box(1, 1, 5, 5)),
        of(3, 2, segmentation=box(6, 6, 9, 9)),
        of(1, 7, iscrowd=1, segmentation={"size": [20, 30], "counts": [0, 600]}),
        of(2, 40, segmentation=[]),
    ],
)


def labelled(tmp_path, written, **options):
    path = write(tmp_path / "photos" / "annotations.json", json.dumps(written))
    return read_label_file(path, **options)


def test_boxes_segments_and_crowds_are_labels(tmp_path):
    found = labelled(tmp_path, GOOD)
    assert found.class_names == ("red fox", "owl", "elk")  # in the order of their ids
    assert found.declared
    entries = [(one.file_name, one.labels, one.split, one.error) for one in found.entries]
    assert entries == [
        ("a/b.jpg", (0, 2), "train", None),
        ("1.jpg", (1,), "train", None),
        ("2.jpg", (2,), "train", None),
    ]


def test_a_folder_is_prepared_by_it(tmp_path):
    labelled(tmp_path, GOOD)
    for seed, name in enumerate(("a/b.jpg", "1.jpg", "2.jpg")):
        write(tmp_path / "photos" / name, jpeg(seed))
    options = {"labels": "annotations.json"}
    dataset = prepare(config("folder", tmp_path / "photos", options=options), tmp_path / "out")
    assert dataset.class_names == ("red fox", "owl", "elk")
    assert {one.file_name: one.labels.tolist() for one in dataset.split("train")} == {
        "a/b.jpg": [0, 2],
        "1.jpg": [1],
        "2.jpg": [2],
    }


BARE = content([image(1), image(2), image(3)], [of(1, 7)])


def test_photographs_without_annotations_are_asked_about(tmp_path):
    found = labelled(tmp_path, BARE)
    assert [one.error is None for one in found.entries] == [True, False, False]
    assert str(found.entries[1].error) == (
        f"{tmp_path}/photos/annotations.json, image 2.jpg has no annotation, as 2 of the "
        "photographs: that it shows none of the classes, or that nobody looked? Set "
        "config.data.options.unannotated = 'background' for the first, or remove such "
        "photographs from 'images'."
    )
    said = labelled(tmp_path, BARE, unannotated="background")
    assert [one.labels for one in said.entries] == [(1,), (), ()]
    assert not any(one.error for one in said.entries)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"annotations": [of(9, 7)]}, r"belongs to the photograph of id 9, which 'images' does"),
        ({"annotations": [of(1, 8)]}, r"category_id 8, which 'categories' does not declare"),
        ({"images": [image(1, file_name="../1.jpg")]}, r"'\.\./1\.jpg' does not lie inside"),
        ({"images": [image(1), image(1, file_name="2.jpg")]}, r"have the same 'id' 1"),
        ({"images": [{"id": 1}]}, r"images\[0\] has no 'file_name'"),
    ],
)
def test_what_is_wrong_with_one_photograph_makes_a_bad_record(tmp_path, fields, message):
    written = content([image(1)], [of(1, 7)]) | fields
    errors = [str(one.error) for one in labelled(tmp_path, written).entries if one.error]
    with pytest.raises(InputError, match=message):
        raise InputError(errors[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"categories": []}, r"an empty list\. Add the classes"),
        ({"categories": [{"id": 1, "name": "Background"}]}, r"Remove it: background is implied"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "A"}]}, r"look like one"),
        ({"images": {}}, r"its 'images' is no list"),
    ],
)
def test_what_is_wrong_with_the_file(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        labelled(tmp_path, {**GOOD, **fields})


def test_a_list_of_labels_is_none_of_cocos(tmp_path):
    """Whatever its classes are called; a COCO file may have a category of any name."""
    images = [{"file_name": "1.jpg", "labels": ["categories"]}]
    found = labelled(tmp_path, {"classes": ["annotations", "categories"], "images": images})
    assert found.entries[0].labels == (1,)
    found = labelled(tmp_path, {**GOOD, "categories": [*CATEGORIES, {"id": 50, "name": "classes"}]})
    assert found.class_names[3] == "classes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unannotated": "none"}, r"unannotated is 'none'\. Set it to 'background' where"),
        ({"unannotated": "background", "labels": "folders"}, r"unannotated is 'background'\. Set"),
        ({"unannotated": "background"}, r"is of COCO files, but .*labels\.csv is none"),
    ],
)
def test_an_option_that_says_nothing(tmp_path, options, message):
    write(tmp_path / "photos" / "labels.csv", "file_name,labels\n1.jpg,cat\n")
    with pytest.raises(InputError, match=message):
        prepare(config("folder", tmp_path / "photos", options=options), tmp_path / "out")
