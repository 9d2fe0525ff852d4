"""The tree as its readers take it: from the lists, by stems."""

import io

import numpy as np
import pytest
from kill_at_renames import killed_at_every_rename
from PIL import Image
from pseudo_labels import CLASS_NAMES, make

from hfpl_jax.errors import InputError
from hfpl_jax.export import PseudoLabel, check_exportable, export
from hfpl_jax.masks import voc_palette

STEMS = ["a", "sub/b", "später", "c.d", "2007_000032"]


def _write(pseudo_labels, directory, *, split="train", class_names=CLASS_NAMES, **options):
    places = {"voc": directory}
    return export(pseudo_labels, places, class_names=class_names, split=split, **options)["voc"]


def _files(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_the_tree(tmp_path):
    pseudo_labels = make(5)
    assert _write(pseudo_labels, tmp_path) == tmp_path
    files = _files(tmp_path)
    assert files.pop("ImageSets/Segmentation/train.txt").decode().splitlines() == STEMS
    assert files.pop("labelmap.txt").decode() == (
        "# label:color_rgb:parts:actions\n"
        "background:0,0,0::\n"
        "cat:128,0,0::\n"
        "potted plant:0,128,0::\n"
        "dog:128,128,0::\n"
        "ignored:224,224,192::\n"
    )
    for stem, one in zip(STEMS, pseudo_labels, strict=True):
        assert files.pop(f"JPEGImages/{one.file_name}") == one.image
        with Image.open(io.BytesIO(files.pop(f"SegmentationClass/{stem}.png"))) as mask:
            assert mask.mode == "P"
            np.testing.assert_array_equal(np.asarray(mask), one.mask)
            colours = np.asarray(mask.convert("RGB"))
            np.testing.assert_array_equal(colours, voc_palette()[one.mask])
    assert not files


def test_grey_masks(tmp_path):
    """As OpenCV takes them for classes: it reads a palette as colours."""
    for format, masks in (("voc", "SegmentationClass"), ("png", "train/masks")):
        places = {format: tmp_path / format}
        export(make(2), places, class_names=CLASS_NAMES, split="train", palette=False)
        with Image.open(tmp_path / format / masks / "a.png") as mask:
            assert mask.mode == "L"
            np.testing.assert_array_equal(np.asarray(mask), make(2)[0].mask)


def test_without_photographs(tmp_path):
    _write(make(2), tmp_path)
    _write(make(2, image=False), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ImageSets",
        "SegmentationClass",
        "labelmap.txt",
    ]


def _others(count):
    """Of other photographs than those of `make`."""
    return [
        PseudoLabel(f"sub/{i}.png", one.image, one.labels, one.mask)
        for i, one in enumerate(make(count, seed=2))
    ]


def test_splits_share_the_tree(tmp_path):
    _write(make(5), tmp_path)
    _write(_others(3), tmp_path, split="val")
    _write(make(2), tmp_path)
    lists = tmp_path / "ImageSets" / "Segmentation"
    assert (lists / "train.txt").read_text() == "a\nsub/b\n"
    assert (lists / "val.txt").read_text() == "sub/0\nsub/1\nsub/2\n"
    masks = {path for path in _files(tmp_path) if path.startswith("SegmentationClass")}
    stems = ("a", "sub/b", "sub/0", "sub/1", "sub/2")
    assert masks == {f"SegmentationClass/{stem}.png" for stem in stems}
    photographs = {path for path in _files(tmp_path) if path.startswith("JPEGImages")}
    assert len(photographs) == 5
    with pytest.raises(InputError, match=r"already holds 'a' in another split"):
        _write(make(2), tmp_path, split="val")
    with pytest.raises(InputError, match=r"already holds the splits \['val'\] with other classes"):
        _write(make(2), tmp_path, class_names=("cat", "dog", "fox"))


def test_a_kill_at_any_rename_leaves_lists_of_whole_splits(tmp_path):
    def check(folder):
        lists = folder / "ImageSets" / "Segmentation"
        expected = {"val": _others(1)}
        if (lists / "train.txt").exists():
            count = len((lists / "train.txt").read_text().split())
            expected["train"] = make(2) if count == 2 else make(3, seed=1)
        for split, pseudo_labels in expected.items():
            stems = (lists / f"{split}.txt").read_text().split()
            for stem, one in zip(stems, pseudo_labels, strict=True):
                with Image.open(folder / "SegmentationClass" / f"{stem}.png") as mask:
                    np.testing.assert_array_equal(np.asarray(mask), one.mask)
        return len(expected.get("train", ()))

    def begin(folder):
        _write(make(2), folder)
        _write(_others(1), folder, split="val")

    outcomes = killed_at_every_rename(
        tmp_path, begin, lambda folder: _write(make(3, seed=1), folder), check
    )
    assert outcomes == [0] * (len(outcomes) - 1) + [3]  # the list is gone before the first rename


@pytest.mark.parametrize("name", ["Background", "ignored", "a:b", "#cat"])
def test_class_names_that_labelmap_cannot_hold(name):
    with pytest.raises(InputError, match=r"cannot be a line of labelmap\.txt.*Rename the class"):
        check_exportable(["tfrecord", "voc"], split="train", class_names=["cat", name])
    check_exportable(["tfrecord", "png"], split="train", class_names=["cat", name])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["#1.jpg"], r"'#1\.jpg' cannot be a line of ImageSets"),
        (["a/ .jpg"], r"'a/ \.jpg' cannot be a line of ImageSets"),
        (["a.jpg", "a.png"], r"would both become a\.png in an export as voc"),
    ],
)
def test_photographs_that_a_list_cannot_hold(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        check_exportable(["voc"], split="train", class_names=["cat"], file_names=names)
    mask = np.zeros((1, 1), np.uint8)
    with pytest.raises(InputError, match=message):
        _write([PseudoLabel(name, None, (), mask) for name in names], tmp_path)


def test_a_damaged_tree(tmp_path):
    _write(make(2), tmp_path)
    (tmp_path / "labelmap.txt").unlink()
    with pytest.raises(InputError, match=r"Cannot read .*labelmap\.txt.*Delete the folder"):
        _write(make(2), tmp_path, split="val")
