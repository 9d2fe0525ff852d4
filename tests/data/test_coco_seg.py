import numpy as np
import pytest
from pycocotools import mask as coco_mask
from tiny_datasets import box, config, make_coco

from hfpl_jax.data.coco_file import Object
from hfpl_jax.data.coco_paint import MASK_RULES, draw, paint
from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.data.prepare import prepare
from hfpl_jax.instance import decode_rle


def _objects(*items):
    return [Object(label, outline, bool(crowd), "x") for label, outline, crowd in items]


def painted(objects, height, width, rule):
    return paint(draw(objects, height, width, where="x"), height, width, rule=rule)


def _crowd(values):
    code = coco_mask.encode(np.asfortranarray(np.asarray(values, np.uint8)))
    return {"size": code["size"], "counts": code["counts"].decode()}


SMALL_UNDER_LARGE = _objects((1, box(1, 1, 3, 3), 0), (0, box(0, 0, 4, 3), 0))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("largest_first", [[1, 1, 1, 1, 0], [1, 2, 2, 1, 0], [1, 2, 2, 1, 0], [0, 0, 0, 0, 0]]),
        ("annotation_order", [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]),
    ],
)
def test_which_object_stays_visible(rule, expected):
    np.testing.assert_array_equal(painted(SMALL_UNDER_LARGE, 4, 5, rule), expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("largest_first", [[0, 255, 255, 3]]), ("annotation_order", [[0, 1, 1, 1]])],
)
@pytest.mark.parametrize("as_list", [True, False])
def test_a_crowd_is_ignored_or_painted_as_its_class(rule, expected, as_list):
    crowd = {"size": [1, 4], "counts": [1, 3]} if as_list else _crowd([[0, 1, 1, 1]])
    objects = _objects((2, box(3, 0, 4, 1), 0), (0, crowd, 1))
    np.testing.assert_array_equal(painted(objects, 1, 4, rule), expected)


def test_equal_areas_keep_the_order_of_the_file():
    objects = _objects((2, box(0, 0, 2, 1), 0), (1, box(1, 0, 3, 1), 0))
    np.testing.assert_array_equal(painted(objects, 1, 3, "largest_first"), [[3, 2, 2]])


def test_polygons_of_two_points_cover_nothing():
    objects = _objects((0, [[0, 0, 3, 0]], 0), (1, [[0, 0, 1, 1], *box(0, 0, 1, 1)], 0))
    np.testing.assert_array_equal(painted(objects, 1, 3, "largest_first"), [[2, 0, 0]])


OBJECTS = {
    7: [
        {"category_id": 159, "segmentation": box(0, 0, 9, 9)},
        {"category_id": 3, "segmentation": box(2, 2, 5, 5)},
    ],
    8: [],
    9: [{"category_id": 1, "segmentation": {"size": [20, 30], "counts": [0, 600]}, "iscrowd": 1}],
}


def test_labels_are_those_of_the_mask_and_photographs_without_any_are_left_out(tmp_path):
    make_coco(tmp_path / "coco", "train", OBJECTS)
    make_coco(tmp_path / "coco", "val", {5: OBJECTS[7]}, folder="images/val2017")
    dataset = prepare(config("coco_seg", tmp_path / "coco", val_split="val"), tmp_path / "out")
    assert dataset.splits == ("train", "val")
    assert len(dataset.class_names) == 80
    [example] = dataset.split("train")
    assert example.file_name == "000000000007.jpg"
    assert example.labels.tolist() == [1, 79]  # category identifiers have gaps, labels have none
    assert np.unique(decode_mask(example.segmentation_mask, "")).tolist() == [0, 2, 80]
    skipped = dataset.skipped()
    assert [(item["split"], item["file_name"]) for item in skipped] == [
        ("train", "000000000008.jpg"),
        ("train", "000000000009.jpg"),
    ]
    assert all("no labels" in item["reason"] for item in skipped)


def test_annotation_order_has_no_ignore(tmp_path):
    make_coco(tmp_path / "coco", "train", OBJECTS)
    dataset = prepare(
        config("coco_seg", tmp_path / "coco", options={"mask_rule": "annotation_order"}),
        tmp_path / "out",
    )
    assert [example.labels.tolist() for example in dataset.split("train")] == [[1, 79], [0]]
    assert np.unique(decode_mask(dataset.split("train")[1].segmentation_mask, "")).tolist() == [1]


def test_lists_of_2014_find_the_photographs_of_2017(tmp_path):
    make_coco(tmp_path / "coco", "train", {7: OBJECTS[7]}, year="2014", folder="train2017")
    make_coco(
        tmp_path / "coco", "val", {8: OBJECTS[7], 9: OBJECTS[7]}, year="2014", folder="val2017"
    )
    (tmp_path / "coco/val2017/000000000008.jpg").rename(
        tmp_path / "coco/train2017/000000000008.jpg"
    )
    dataset = prepare(
        config("coco_seg", tmp_path / "coco", options={"year": "2014"}), tmp_path / "out"
    )
    assert [example.file_name for example in dataset.split("train")] == ["000000000007.jpg"]
    assert [example.file_name for example in dataset.split("val")] == [
        "000000000008.jpg",
        "000000000009.jpg",
    ]


def test_the_annotations_are_the_true_instances(tmp_path):
    """Whole where they overlap, in the order of the file, crowds as such; whatever the
    mask rule.
    """
    crowd = {"size": [20, 30], "counts": [590, 10]}
    objects = {
        7: [
            *OBJECTS[7],
            {"category_id": 1, "segmentation": crowd, "iscrowd": 1},
            {"category_id": 1, "segmentation": [*box(0, 10, 2, 12), *box(5, 10, 7, 11)]},
        ]
    }
    make_coco(tmp_path / "coco", "train", objects)
    for rule in MASK_RULES:
        data = config("coco_seg", tmp_path / "coco", options={"mask_rule": rule})
        [example] = prepare(data, tmp_path / rule).split("train")
        found = [(one.label, one.crowd) for one in example.instances]
        assert found == [(79, False), (1, False), (0, True), (0, False)]
        expected = np.zeros((4, 20, 30), bool)
        expected[0, :9, :9] = True
        expected[1, 2:5, 2:5] = True
        expected[2, 10:, 29] = True
        expected[3, 10:12, :2] = expected[3, 10:11, 5:7] = True
        for one, region in zip(example.instances, expected, strict=True):
            np.testing.assert_array_equal(decode_rle(one.segmentation), region)


def test_an_object_of_a_box_alone_leaves_the_instances_unknown(tmp_path):
    objects = {7: [*OBJECTS[7], {"category_id": 1, "segmentation": [], "bbox": [0, 0, 2, 2]}]}
    make_coco(tmp_path / "coco", "train", objects)
    [example] = prepare(config("coco_seg", tmp_path / "coco"), tmp_path / "out").split("train")
    assert example.instances is None
    assert example.segmentation_mask is None
    assert example.labels.tolist() == [0, 1, 79]
