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
from hfpl_jax.instance import decode_rle

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


def test_object_names_are_read_in_any_namespace_and_behind_a_mark():
    xml = '<x:annotation xmlns:x="y"><x:object><x:name>cat</x:name></x:object></x:annotation>'
    assert object_names(xml.encode("utf-8-sig"), "a.xml") == ["cat"]


def test_a_document_type_is_refused_before_its_entities_expand(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY b "xxxxxxxxxx"><!ENTITY c "&b;&b;&b;">]>' + annotation("&c;")
    with pytest.raises(InputError, match=r"a\.xml declares a document type"):
        object_names(bomb.encode(), tmp_path / "a.xml")


def test_class_names_are_read_in_any_case(tmp_path):
    root = make_voc(tmp_path / "voc", {"train": {"a": ("cat",)}})
    write(root / "Annotations/a.xml", annotation("Cat", "TVMonitor"))
    write_mask(root / "SegmentationClass/a.png", square_mask(8))
    [example] = prepare(config("voc_seg", root), tmp_path / "out").split("train")
    assert example.labels.tolist() == [7, 19]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tv/monitor", r"'tv/monitor', .* \(did you mean 'tvmonitor'\?\)\. Correct its <name>"),
        (
            "helmet",
            r"'helmet', .*classes of your own .*labels\.csv .*the recipe's switch data=folder\.",
        ),
    ],
)
def test_other_classes_are_not_guessed(tmp_path, name, message):
    root = make_voc(tmp_path / "voc", {"train": {"a": ("cat",)}})
    write(root / "Annotations/a.xml", annotation(name))
    with pytest.raises(InputError, match=r"Annotations/a\.xml names an object " + message):
        prepare(config("voc_seg", root), tmp_path / "out")


def test_a_list_names_the_mask_too(tmp_path):
    """Then this mask is taken, whichever comes first without it."""
    root = make_voc(
        tmp_path / "voc", {"train": {"a": ("aeroplane", "cat"), "b": ("aeroplane", "cat")}}
    )
    for name in "ab":
        write_mask(root / f"SegmentationClass/{name}.png", square_mask(8))
        write_mask(root / f"SegmentationClassAug/{name}.png", np.flipud(square_mask(8)))
    lines = (
        "/JPEGImages/a.jpg /SegmentationClassAug/a.png\nJPEGImages/b.jpg SegmentationClass/b.png\n"
    )
    for split in ("train", "trainaug"):
        write(root / f"ImageSets/Segmentation/{split}.txt", lines)
    dataset = prepare(config("voc_seg", root), tmp_path / "out")
    for split in ("train", "trainaug"):
        masks = [decode_mask(one.segmentation_mask, "") for one in dataset.split(split)]
        np.testing.assert_array_equal(masks[0], np.flipud(square_mask(8)))
        np.testing.assert_array_equal(masks[1], square_mask(8))
    (root / "SegmentationClass/b.png").unlink()
    with pytest.raises(InputError, match=r"b\.jpg has no mask: .*Class/b\.png is not there"):
        prepare(config("voc_seg", root), tmp_path / "out")


def test_photographs_of_other_extensions_have_their_annotation_and_mask(tmp_path):
    root = make_voc(tmp_path / "voc", {"train": {"a": ("cat",), "b.2 x": ("dog",)}})
    (root / "JPEGImages/a.jpg").rename(root / "JPEGImages/a.JPG")
    Image.new("RGB", (30, 20), (1, 2, 3)).save(root / "JPEGImages/b.2 x.png")
    (root / "JPEGImages/b.2 x.jpg").unlink()
    for name, value in (("a", 8), ("b.2 x", 12)):
        write_mask(root / f"SegmentationClass/{name}.png", square_mask(value))
    first, second = prepare(config("voc_seg", root), tmp_path / "out").split("train")
    assert (first.file_name, first.labels.tolist()) == ("a.JPG", [7])
    assert (second.file_name, second.labels.tolist()) == ("b.2 x.png", [11])
    assert (decode_image(second.image, "") == (1, 2, 3)).all()
    np.testing.assert_array_equal(decode_mask(first.segmentation_mask, ""), square_mask(8))
    np.testing.assert_array_equal(decode_mask(second.segmentation_mask, ""), square_mask(12))


def numbered(root, *, classes=(15, 15, 8), rim=True):
    """Writes a photograph `a` of three objects side by side, each of its class, in the
    files that number them and say what they are; returns the number of each pixel.
    """
    numbers, mask = np.zeros((2, 20, 30), np.uint8)
    for number, value in enumerate(classes, start=1):
        columns = slice(10 * number - 9, 10 * number - 2)
        numbers[4:12, columns], mask[4:12, columns] = number, value
        if rim:
            numbers[4, columns] = mask[4, columns] = 255
    write_mask(root / "SegmentationObject/a.png", numbers)
    write_mask(root / "SegmentationClass/a.png", mask)
    return numbers


def test_objects_are_true_instances_of_the_class_of_their_pixels(tmp_path):
    """Without their rims; a photograph that is not numbered has none. SBD's mask does
    not replace the classes.
    """
    root = make_voc(tmp_path / "voc", {"train": {"a": ("person", "cat"), "b": ("dog",)}})
    write(root / "ImageSets/Segmentation/trainaug.txt", "a\nb\n")
    numbers = numbered(root)
    write_mask(root / "SegmentationClassAug/a.png", square_mask(8))
    dataset = prepare(config("voc_seg", root), tmp_path / "out")
    for split in ("train", "trainaug"):
        first, second = dataset.split(split)
        assert [one.label for one in first.instances] == [14, 14, 7]
        for number, one in enumerate(first.instances, start=1):
            assert (one.score, one.crowd) == (None, False)
            np.testing.assert_array_equal(decode_rle(one.segmentation), numbers == number)
        assert second.instances is None


@pytest.mark.parametrize("value", [0, 255])
def test_an_object_without_a_class_is_refused(tmp_path, value):
    root = make_voc(tmp_path / "voc", {"train": {"a": ("person", "cat")}})
    numbered(root, classes=(15, value, 8), rim=False)
    with pytest.raises(
        InputError,
        match=rf"Object 2 in .*SegmentationObject/a\.png has no class: .* values \[{value}\] in "
        r".*SegmentationClass/a\.png\. Restore both files, or remove .*a\.jpg then has no true",
    ):
        prepare(config("voc_seg", root), tmp_path / "out")


def test_objects_of_another_size_are_refused(tmp_path):
    root = make_voc(tmp_path / "voc", {"train": {"a": ("cat",)}})
    write_mask(root / "SegmentationObject/a.png", np.ones((20, 31)))
    with pytest.raises(InputError, match=r"SegmentationObject/a\.png is 31x20 pixels, but its"):
        prepare(config("voc_seg", root), tmp_path / "out")


def test_objects_added_later_change_the_masks_alone(tmp_path):
    root = make_voc(tmp_path / "voc", {"train": {"a": ("cat",)}})
    before = prepare(config("voc_seg", root), tmp_path / "out")
    write_mask(root / "SegmentationObject/a.png", square_mask(1))
    after = prepare(config("voc_seg", root), tmp_path / "out")
    assert len(after.split("train")[0].instances) == 1
    assert after.digest(["train"]) == before.digest(["train"])
    assert after.digest([], ["train"]) != before.digest([], ["train"])
