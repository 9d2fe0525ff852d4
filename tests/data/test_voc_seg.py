import io

import numpy as np
import pytest
from PIL import Image
from tiny_datasets import annotation, config, make_voc, square_mask, write, write_mask

from hfpl_jax.data.class_names import VOC_CLASSES
from hfpl_jax.data.dataset import decode_image, decode_mask
from hfpl_jax.data.prepare import prepare
from hfpl_jax.data.voc_seg import object_names
from hfpl_jax.errors import InputError

SPLITS = {
    "train": {"2007_000001": ("dog", "aeroplane", "dog"), "2007_000002": ("tvmonitor",)},
    "trainaug": {
        "2007_000001": ("dog", "aeroplane", "dog"),
        "2008_000003": ("cat",),
        "2008_000004": ("person",),
    },
    "val": {"2007_000009": ("sofa",)},
}


@pytest.mark.parametrize("below", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_finds_the_layout(tmp_path, below):
    make_voc(tmp_path / "voc" / below, {"train": SPLITS["train"]})
    dataset = prepare(config("voc_seg", tmp_path / "voc"), tmp_path / "out")
    assert dataset.splits == ("train",)  # the lists of trainaug and val are absent
    assert dataset.class_names == VOC_CLASSES
    assert [example.file_name for example in dataset.split("train")] == [
        "2007_000001.jpg",
        "2007_000002.jpg",
    ]


def test_examples_hold_labels_masks_and_the_original_bytes(tmp_path):
    root = make_voc(tmp_path / "voc", SPLITS)
    (root / "SegmentationClass/2008_000003.png").unlink()
    (root / "SegmentationClass/2008_000004.png").unlink()
    write_mask(root / "SegmentationClassAug/2008_000004.png", square_mask(15))
    write_mask(root / "SegmentationClassAug/2007_000001.png", square_mask(1), palette=False)
    dataset = prepare(
        config("voc_seg", root, train_split="trainaug", val_split="val"), tmp_path / "out"
    )
    assert dataset.splits == ("train", "trainaug", "val")

    first = dataset.split("train")[0]
    assert first.labels.dtype == np.int64
    assert first.labels.tolist() == [0, 11]  # sorted, without repetition
    assert first.image == (root / "JPEGImages/2007_000001.jpg").read_bytes()
    assert (
        decode_image(first.image, first.file_name).shape
        == (first.height, first.width, 3)
        == (20, 30, 3)
    )
    np.testing.assert_array_equal(
        decode_mask(first.segmentation_mask, first.file_name), square_mask(12)
    )
    assert (
        Image.open(io.BytesIO(first.segmentation_mask)).mode == "L"
    )  # the palette's index, not its colours

    augmented = {example.file_name: example for example in dataset.split("trainaug")}
    assert augmented["2008_000003.jpg"].segmentation_mask is None
    np.testing.assert_array_equal(
        decode_mask(augmented["2008_000004.jpg"].segmentation_mask, ""), square_mask(15)
    )
    np.testing.assert_array_equal(
        decode_mask(augmented["2007_000001.jpg"].segmentation_mask, ""), square_mask(1)
    )


def test_object_names_leaves_out_parts():
    part = b"<part><name>head</name></part>"
    person = b"<object><name> per&#115;on </name>" + part + b"</object>"
    xml = b"<annotation><name>x</name>" + person + b"</annotation>"
    assert object_names(xml, "a.xml") == ["person"]


def test_a_document_type_is_refused_before_its_entities_expand(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY b "xxxxxxxxxx"><!ENTITY c "&b;&b;&b;">]>' + annotation("&c;")
    with pytest.raises(InputError, match=r"a\.xml declares a document type"):
        object_names(bomb.encode(), tmp_path / "a.xml")


def test_blank_lines_of_a_list_are_no_photographs(tmp_path):
    root = make_voc(tmp_path / "voc", {"train": SPLITS["train"]})
    write(root / "ImageSets/Segmentation/train.txt", "2007_000001\r\n\r\n2007_000002  \r\n\n")
    assert len(prepare(config("voc_seg", root), tmp_path / "out").split("train")) == 2
