import json

import numpy as np
import pytest
from pseudo_labels import CLASS_NAMES, make
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hfpl_jax.errors import InputError
from hfpl_jax.export import PseudoLabel, export
from hfpl_jax.instance import decode_rle, encode_rle


def _write(pseudo_labels, directory):
    places = {"coco": directory}
    return export(pseudo_labels, places, class_names=CLASS_NAMES, split="train")["coco"]


def test_pycocotools_rebuilds_the_masks(tmp_path):
    pseudo_labels = make(5)
    path = _write(pseudo_labels, tmp_path)
    assert path == tmp_path / "train.json"
    coco = COCO(path)
    assert {category["id"]: category["name"] for category in coco.cats.values()} == {
        1: "cat",
        2: "potted plant",
        3: "dog",
    }
    assert [coco.imgs[i]["file_name"] for i in coco.getImgIds()] == [
        one.file_name for one in pseudo_labels
    ]
    for image_id, pseudo_label in enumerate(pseudo_labels, start=1):
        image = coco.imgs[image_id]
        assert (image["height"], image["width"]) == pseudo_label.mask.shape
        assert image["category_ids"] == [label + 1 for label in pseudo_label.labels]
        rebuilt = np.where(coco_mask.decode(image["ignore"]) > 0, 255, 0).astype(np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(image_id)):
            rebuilt[coco.annToMask(annotation) > 0] = annotation["category_id"]
        np.testing.assert_array_equal(rebuilt, pseudo_label.mask)


def test_one_annotation_in_full(tmp_path):
    mask = np.array([[0, 2, 2, 255], [0, 0, 2, 255]], np.uint8)
    confidence = np.array([[0, 255, 51, 0], [0, 0, 0, 0]], np.uint8)
    path = _write(
        [PseudoLabel(file_name="a.jpg", image=None, labels=(1,), mask=mask, confidence=confidence)],
        tmp_path,
    )
    content = json.loads(path.read_text())
    (annotation,) = content["annotations"]
    assert annotation.pop("segmentation") == encode_rle(mask == 2)
    assert annotation.pop("score") == pytest.approx((255 + 51 + 0) / 3 / 255, rel=1e-12)
    assert annotation == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "area": 3,
        "bbox": [1.0, 0.0, 2.0, 2.0],
        "iscrowd": 0,
    }
    np.testing.assert_array_equal(coco_mask.decode(content["images"][0]["ignore"]), mask == 255)


def test_without_confidence_there_is_no_score(tmp_path):
    content = json.loads(_write(make(3, confidence=False), tmp_path).read_text())
    assert content["annotations"]
    assert not any("score" in annotation for annotation in content["annotations"])


def test_photographs_lie_under_the_names_that_the_file_gives(tmp_path):
    pseudo_labels = make(5)
    coco = COCO(_write(pseudo_labels, tmp_path))
    for image_id, one in enumerate(pseudo_labels, start=1):
        path = tmp_path / "images/train" / coco.imgs[image_id]["file_name"]
        assert path.read_bytes() == one.image
    _write(make(5, image=False), tmp_path)
    assert not (tmp_path / "images/train").exists()


def test_instances_have_a_file_of_their_own(tmp_path):
    """With the images and categories of the other, which stays as it is without them;
    pycocotools evaluates it.
    """
    pseudo_labels = make(5, instances=True)
    regions = _write(pseudo_labels, tmp_path / "with")
    assert regions.read_bytes() == _write(make(5), tmp_path / "without").read_bytes()
    coco = COCO(tmp_path / "with" / "train.instances.json")
    assert (coco.imgs, coco.cats) == (COCO(regions).imgs, COCO(regions).cats)
    assert sorted(coco.anns) == list(range(1, 7))
    for image_id, pseudo_label in enumerate(pseudo_labels, start=1):
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        for annotation, one in zip(annotations, pseudo_label.instances, strict=True):
            region = decode_rle(one.segmentation)
            np.testing.assert_array_equal(coco.annToMask(annotation), region)
            rows, columns = np.nonzero(region)
            left, top = columns.min(), rows.min()
            assert annotation["bbox"] == [
                left,
                top,
                columns.max() + 1 - left,
                rows.max() + 1 - top,
            ]
            assert annotation["area"] == region.sum()
            assert annotation["category_id"] == one.label + 1
            assert annotation["iscrowd"] == 0
            assert annotation["score"] == one.score
            assert annotation["peak"] == [one.peak[1], one.peak[0]]
    evaluation = COCOeval(coco, coco.loadRes(list(coco.anns.values())), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1.0


def test_an_export_without_instances_leaves_none_of_an_earlier_one(tmp_path):
    _write(make(5, instances=True), tmp_path)
    _write(make(5), tmp_path)
    assert not (tmp_path / "train.instances.json").exists()


def test_instances_of_some_photographs_alone(tmp_path):
    pseudo_labels = make(3, instances=True)
    pseudo_labels[1] = make(3)[1]
    with pytest.raises(InputError, match=r"sub/b\.png lacks `instances`.*for all .* or for none"):
        _write(pseudo_labels, tmp_path)
