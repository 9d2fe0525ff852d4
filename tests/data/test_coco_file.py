"""COCO files of merging scripts and annotation programs: the right value, or a sentence
of its own for each fault.
"""

import copy
import json
import logging

import numpy as np
import pytest
from tiny_datasets import COCO_CATEGORIES, box, config, make_coco, write

from hfpl_jax.data.coco_categories import as_integer, read_class_names
from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError

SECOND, FIFTH = COCO_CATEGORIES[1]["id"], COCO_CATEGORIES[4]["id"]


@pytest.fixture
def coco(tmp_path):
    """`coco(change)` prepares two photographs, after `change` was applied to their
    file.
    """
    root = tmp_path / "coco"
    outlines = {
        1: [{"category_id": SECOND, "segmentation": box(2, 3, 12, 9), "bbox": [2, 3, 10, 6]}],
        2: [{"category_id": FIFTH, "segmentation": box(0, 0, 7, 5), "bbox": [0, 0, 7, 5]}],
    }
    content = make_coco(root, "train", outlines)

    def call(change, **fields):
        changed = copy.deepcopy(content)
        change(changed)
        path = root / "annotations/instances_train2017.json"
        write(path, json.dumps(changed, ensure_ascii=False))
        dataset = prepare(config("coco_seg", root, **fields), tmp_path / "out")
        found = {}
        for example in dataset.split("train"):
            mask = example.segmentation_mask
            mask = None if mask is None else decode_mask(mask, "")
            found[example.file_name] = (example.labels.tolist(), mask)
        call.dataset = dataset
        return found

    call.root = root
    return call


def rectangle(value, x0, y0, x1, y1):
    mask = np.zeros((20, 30), np.uint8)
    mask[y0:y1, x0:x1] = value
    return mask


def nothing(content):
    pass


def texts(content):
    for item in content["annotations"]:
        item["image_id"], item["category_id"] = str(item["image_id"]), f"0{item['category_id']}"


def fractions(content):
    for item in content["annotations"]:
        item["image_id"], item["category_id"] = float(item["image_id"]), float(item["category_id"])


def without_sizes(content):
    for image in content["images"]:
        del image["height"], image["width"]


def sizes_in_texts(content):
    for image in content["images"]:
        image["height"], image["width"] = "20", 30.0


def lean(content):
    for item in content["annotations"]:
        del item["iscrowd"], item["area"], item["bbox"], item["id"]


def shuffled(content):
    content["categories"].reverse()


def from_zero(content):
    for category in content["categories"]:
        category["id"] -= 1
    for item in content["annotations"]:
        item["category_id"] -= 1


def short_beside_a_good_one(content):
    content["annotations"][0]["segmentation"].insert(0, [5, 5, 20, 18])


def runs(content):
    content["annotations"][1]["segmentation"] = {
        "size": [20, 30],  # columns of 20 pixels: five of the first seven columns' pixels
        "counts": [0, *([5, 15] * 6), 5, 20 * 23 + 15],
    }


@pytest.mark.parametrize(
    "change",
    [nothing, texts, fractions, without_sizes, sizes_in_texts, lean, shuffled, from_zero,
     short_beside_a_good_one, runs],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_what_can_only_mean_one_thing_is_taken(coco, change):
    found = coco(change)
    assert list(found) == ["000000000001.jpg", "000000000002.jpg"]
    (first, first_mask), (second, second_mask) = found.values()
    assert (first, second) == ([1], [4])
    np.testing.assert_array_equal(first_mask, rectangle(2, 2, 3, 12, 9))
    np.testing.assert_array_equal(second_mask, rectangle(5, 0, 0, 7, 5))


def test_a_polygon_beyond_the_photograph_ends_at_its_edge(coco):
    def change(content):
        content["annotations"][0]["segmentation"] = box(-20, -20, 200, 8)

    np.testing.assert_array_equal(coco(change)["000000000001.jpg"][1], rectangle(2, 0, 0, 30, 8))


def test_a_crowd_of_polygons_is_ignored(coco):
    def change(content):
        crowd = {"id": 9, "image_id": 1, "category_id": FIFTH, "iscrowd": 1}
        content["annotations"].append({**crowd, "segmentation": box(20, 0, 30, 20)})

    labels, mask = coco(change)["000000000001.jpg"]
    assert labels == [1]
    np.testing.assert_array_equal(mask, rectangle(2, 2, 3, 12, 9) + rectangle(255, 20, 0, 30, 20))


@pytest.mark.parametrize("outline", [None, [], [[5, 5, 20, 18]], "absent"])
def test_boxes_alone_give_image_labels_and_no_mask(coco, outline, caplog):
    def change(content):
        box_alone = {"id": 9, "image_id": 1, "category_id": FIFTH, "bbox": [1, 1, 5, 5]}
        if outline != "absent":
            box_alone["segmentation"] = outline
        content["annotations"].append(box_alone)

    caplog.set_level(logging.WARNING)
    found = coco(change)
    assert found["000000000001.jpg"] == ([1, 4], None)  # a mask would show one object of two
    np.testing.assert_array_equal(found["000000000002.jpg"][1], rectangle(5, 0, 0, 7, 5))
    assert "1 of 2 photographs have objects without an outline" in caplog.text


def test_a_crowd_without_an_outline_is_no_label(coco):
    def change(content):
        content["annotations"].append(
            {"id": 9, "image_id": 1, "category_id": FIFTH, "iscrowd": 1, "segmentation": []}
        )

    assert coco(change)["000000000001.jpg"] == ([1], None)
    options = {"mask_rule": "annotation_order"}
    assert coco(change, options=options)["000000000001.jpg"] == ([1, 4], None)


OWN = [{"id": 70, "name": "wheel nut"}, {"id": 3, "name": "bolt"}, {"id": 0, "name": "Écrou"}]


def own(content):
    content["categories"] = OWN
    content["annotations"][0]["category_id"] = 70
    content["annotations"][1]["category_id"] = 0


def test_categories_of_ones_own_are_classes_in_the_order_of_their_ids(coco, caplog):
    caplog.set_level(logging.INFO)
    found = coco(own)
    assert coco.dataset.class_names == ("Écrou", "bolt", "wheel nut")
    np.testing.assert_array_equal(found["000000000001.jpg"][1], rectangle(3, 2, 3, 12, 9))
    np.testing.assert_array_equal(found["000000000002.jpg"][1], rectangle(1, 0, 0, 7, 5))
    assert "3 classes of its own, in the order of their ids: Écrou, bolt, wheel nut." in caplog.text


def test_the_file_of_val_may_number_the_classes_in_another_way(coco):
    content = make_coco(
        coco.root, "val", {7: [{"category_id": 1, "segmentation": box(0, 0, 4, 4)}]}
    )
    path = coco.root / "annotations/instances_val2017.json"
    content["categories"] = [{"id": 5, "name": "bolt"}, {"id": 1, "name": "wheel nut"}]
    content["categories"].append({"id": 2, "name": "E\u0301crou"})  # as other systems write it
    write(path, json.dumps(content))
    coco(own)
    [example] = coco.dataset.split("val")
    assert example.labels.tolist() == [2]
    mask = decode_mask(example.segmentation_mask, "")
    np.testing.assert_array_equal(mask, rectangle(3, 0, 0, 4, 4))


def test_an_interrupted_preparation_forgets_masks_of_other_classes(coco):
    """The classes of val are those of the file of train, which may be mended in
    between.
    """
    square = {"category_id": 70, "segmentation": box(0, 0, 4, 4)}
    content = make_coco(coco.root, "val", {7: [square], 8: [square]})
    path = coco.root / "annotations/instances_val2017.json"
    write(path, json.dumps({**content, "categories": OWN}))
    last = coco.root / "val2017/000000000008.jpg"
    sound = last.read_bytes()
    last.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"000000000008\.jpg"):
        coco(own)
    last.write_bytes(sound)

    def shuffled_classes(content):
        content["categories"] = [dict(one, id=70 - one["id"]) for one in OWN]
        content["annotations"][0]["category_id"] = 0
        content["annotations"][1]["category_id"] = 70

    coco(shuffled_classes)
    assert coco.dataset.class_names == ("wheel nut", "bolt", "Écrou")
    for example in coco.dataset.split("val"):
        assert example.labels.tolist() == [0]
        mask = decode_mask(example.segmentation_mask, "")
        np.testing.assert_array_equal(mask, rectangle(1, 0, 0, 4, 4))


def test_names_in_folders_of_any_language(coco):
    (coco.root / "train2017/part one/übung").mkdir(parents=True)
    name = "part one/übung/000000000001.jpg"
    (coco.root / "train2017/000000000001.jpg").rename(coco.root / "train2017" / name)

    def change(content):
        content["images"][0]["file_name"] = name

    np.testing.assert_array_equal(coco(change)[name][1], rectangle(2, 2, 3, 12, 9))


def edit(part, index, **fields):
    """A change of one entry; a field of None is removed."""

    def change(content):
        content[part][index] = {
            key: value
            for key, value in (content[part][index] | fields).items()
            if value is not None
        }

    return change


def without(part):
    return lambda content: content.pop(part)


def categories(*names):
    return lambda content: content.update(
        categories=[{"id": index, "name": name} for index, name in enumerate(names)]
    )


FAULTS = {
    "no images": (without("images"), r" is not a COCO instances file: it has no 'images'"),
    "no annotations": (without("annotations"), r"it has no 'annotations'.*not of captions"),
    "no categories": (without("categories"), r"it has no 'categories', and must have the lists"),
    "a dict of images": (lambda c: c.update(images={}), r"its 'images' is no list"),
    "one id twice": (
        edit("images", 1, id=1),
        r"photographs '000000000001\.jpg' and '000000000002\.jpg' have the same 'id' 1, .*own",
    ),
    "one id as number and text": (edit("images", 1, id="1"), "have the same 'id' 1"),
    "one name twice": (
        edit("images", 1, file_name="000000000001.jpg"),
        r"'000000000001\.jpg' is listed twice, with the ids 1 and 2, .*remove the other",
    ),
    "no id": (edit("images", 0, id=None), r"images\[0\], '000000000001\.jpg', has no 'id'\. Give"),
    "an id of letters": (edit("images", 0, id="a1"), r"has the 'id' 'a1'\. Give it an integer"),
    "half an id": (edit("images", 0, id=1.5), r"has the 'id' 1\.5\. Give it an integer"),
    "no name": (edit("images", 0, file_name=None), r"images\[0\] has no 'file_name'\. Give"),
    "a number for a name": (edit("images", 0, file_name=1), r"has the 'file_name' 1\. Give .*text"),
    "a wrong height": (edit("images", 0, height=21), "say 30x21, but the photograph is 30x20"),
    "no height, a wrong width": (edit("images", 0, height=None, width=9), "say 9x20, but the ph"),
    "a height of letters": (edit("images", 0, height="x"), "has the 'height' 'x'. Give it in pix"),
    "no image_id": (edit("annotations", 0, image_id=None), r"annotation 1 has no 'image_id'\. G"),
    "an image_id of letters": (edit("annotations", 0, image_id="a"), "has the 'image_id' 'a'. G"),
    "an orphan": (edit("annotations", 0, image_id=99), "of id 99, which 'images' does not list"),
    "no category": (edit("annotations", 0, category_id=None), "annotation 1 has no 'category_id'"),
    "half a category": (edit("annotations", 0, category_id=3.5), "has category_id 3.5, which"),
    "a category as a list": (edit("annotations", 0, category_id=[3]), r"category_id \[3\], which"),
    "a category of another file": (edit("annotations", 0, category_id=2), "category_id 2, which"),
    "half a crowd": (edit("annotations", 0, iscrowd=0.5), r"'iscrowd' 0\.5\. It must be 0 or 1"),
    "an odd polygon": (
        edit("annotations", 0, segmentation=[[5, 5, 30, 5, 30, 30, 5]]),
        "of annotation 1 cannot be drawn .*7 numbers, not pairs",
    ),
    "runs of a turned photograph": (
        edit("annotations", 0, segmentation={"size": [30, 20], "counts": [600]}),
        r"its 'size' is \[30, 20\], which must be \[height, width\], \[20, 30\] here",
    ),
    "empty runs": (
        edit("annotations", 0, segmentation={"size": [20, 30], "counts": ""}),
        "of annotation 1 cannot be drawn .*no run-length text",
    ),
    "no class": (categories(), " are an empty list. Add the classes"),
    "too many classes": (categories(*map(str, range(255))), "are 255, but .* holds 1 to 254"),
    "a class twice": (categories("cat", "cat"), "name 'cat' stands there twice"),
    "a class in two forms": (categories("e\u0301", "é"), "name 'é' stands there twice"),
    "alike classes": (categories("Cat", "cat"), "name 'Cat' and 'cat', which look like one"),
    "two blanks": (categories("wheel nut", "wheel  nut"), "nut', which look like one. Merge"),
    "a category's id twice": (edit("categories", 1, id=1), "id 1 or name .* stands there twice"),
    "background": (categories("Background", "cat"), "is 'Background'. Remove it"),
    "a class of no name": (edit("categories", 1, name=None), "has the 'name' None. Correct it"),
    "a class of blanks": (edit("categories", 1, name="bicycle "), "'name' 'bicycle '. Correct it"),
    "a category of no id": (edit("categories", 1, id=None), "number 2 has no integer 'id'. Give"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_every_fault_has_its_sentence(coco, case):
    change, message = FAULTS[case]
    with pytest.raises(InputError, match=r"instances_train2017\.json.*" + message) as error:
        coco(change)
    assert "Error" not in str(error.value)  # Python's own


LISTED = ["one id twice", "no id", "no name", "a wrong height", "half a category", "an orphan"]


@pytest.mark.parametrize("case", LISTED)
def test_skip_leaves_out_what_is_bad_alone(coco, case):
    change = FAULTS[case][0]

    def with_a_third(content):
        change(content)
        content["images"].append({"id": 3, "file_name": "c.jpg", "height": 20, "width": 30})
        content["annotations"].append({**content["annotations"][1], "id": 5, "image_id": 3})

    photograph = (coco.root / "train2017/000000000002.jpg").read_bytes()
    write(coco.root / "train2017/c.jpg", photograph)
    found = coco(with_a_third, on_bad_record="skip")
    assert found["c.jpg"][0] == [4]
    assert "000000000001.jpg" not in found
    if case == "one id twice":
        assert list(found) == ["c.jpg"]


def test_bad_records_are_found_before_the_first_photograph_is_read(coco, monkeypatch):
    monkeypatch.setattr("hfpl_jax.data.photographs.plain_image", None)
    make_coco(coco.root, "val", {7: [{"category_id": 2, "segmentation": box(0, 0, 4, 4)}]})
    with pytest.raises(InputError, match=r"instances_val2017.*000000000007\.jpg.*category_id 2"):
        coco(nothing)


def test_a_photograph_is_not_taken_for_another_of_its_number(coco):
    with pytest.raises(InputError, match=r"Cannot read .*train2017/b\.jpg"):
        coco(edit("images", 0, file_name="b.jpg"))


@pytest.mark.parametrize(
    ("value", "integer"),
    [(7, 7), (7.0, 7), ("7", 7), (" 007 ", 7), (-1, -1), (0, 0), (7.5, None), ("7.5", None),
     (True, None), (None, None), ("", None), ("x", None), ([7], None), (float("nan"), None),
     (float("inf"), None), ("٧", None), ("9" * 30, None)],
)  # fmt: skip
def test_integers_as_they_are_written(value, integer):
    assert as_integer(value) == integer


@pytest.mark.parametrize(
    "text",
    [
        '{"categories" : [{"name": "b", "id": 2}, {"name": "a", "id": 1}], "images": [not read',
        '{"images": [{"categories": [{"id": 9, "name": "x"}]}], '
        '"categories": [{"name": "b", "id": 2}, {"name": "a", "id": 1}]}',
        '{"\\u0063ategories": [{"name": "b", "id": 2}, {"name": "a", "id": 1}]}',
    ],
)
def test_class_names_are_read_without_the_rest_where_that_is_safe(tmp_path, text):
    path = write(tmp_path / "x.json", text)
    assert read_class_names(path, "why", "cure") == ("a", "b")
