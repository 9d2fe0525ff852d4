import json

import numpy as np
import pytest
from PIL import Image
from pseudo_labels import CLASS_NAMES, make

from hfpl_jax.errors import InputError
from hfpl_jax.export import PseudoLabel, export
from hfpl_jax.export.png import encode_png, relative_png
from hfpl_jax.masks import voc_palette


def _write(pseudo_labels, directory, **options):
    places = {"png": directory}
    return export(pseudo_labels, places, class_names=CLASS_NAMES, split="train", **options)["png"]


def test_files(tmp_path):
    pseudo_labels = make(5)
    folder = _write(pseudo_labels, tmp_path)
    assert folder == tmp_path / "train"
    stems = ["a", "sub/b", "später", "c.d", "2007_000032"]
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {f"{kind}/{stem}.png" for kind in ("masks", "confidence") for stem in stems} | {
        "labels.json",
        "class_names.txt",
        *(f"images/{one.file_name}" for one in pseudo_labels),
    }
    for one in pseudo_labels:
        assert (folder / "images" / one.file_name).read_bytes() == one.image
    for stem, pseudo_label in zip(stems, pseudo_labels, strict=True):
        with Image.open(folder / "masks" / f"{stem}.png") as mask:
            assert mask.mode == "P"
            np.testing.assert_array_equal(np.asarray(mask), pseudo_label.mask)
            np.testing.assert_array_equal(
                np.asarray(mask.convert("RGB")), voc_palette()[pseudo_label.mask]
            )
        with Image.open(folder / "confidence" / f"{stem}.png") as confidence:
            assert confidence.mode == "L"
            np.testing.assert_array_equal(np.asarray(confidence), pseudo_label.confidence)
    labels = json.loads((folder / "labels.json").read_text())
    assert labels == {
        one.file_name: [CLASS_NAMES[label] for label in one.labels] for one in pseudo_labels
    }
    assert (folder / "class_names.txt").read_text() == "background\ncat\npotted plant\ndog\n"


def test_without_confidence_and_photographs(tmp_path):
    folder = _write(make(2, confidence=False, image=False), tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [
        "class_names.txt",
        "labels.json",
        "masks",
    ]


def test_splits_stand_side_by_side(tmp_path):
    for split in ("train", "val"):
        export(make(2), {"png": tmp_path}, class_names=CLASS_NAMES, split=split)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "val"]


@pytest.mark.parametrize(
    "name",
    [
        "../../x.jpg",
        "/etc/x.jpg",
        "a/../../x.jpg",
        "..",
        "",
        ".",
        "/",
        "..\\x.jpg",
        "C:\\x.jpg",
        "C:x.jpg",
        "\\\\host\\a\\x",
        "a\0.jpg",
    ],
)
def test_names_cannot_leave_the_folder(tmp_path, name):
    pseudo_label = PseudoLabel(
        file_name=name, image=None, labels=(), mask=np.zeros((1, 1), np.uint8)
    )
    with pytest.raises(InputError, match="does not name a file inside its image folder"):
        _write([pseudo_label], tmp_path / "export")
    assert list(tmp_path.rglob("*")) == [tmp_path / "export"]


def test_relative_png_keeps_what_is_harmless():
    names = {
        "a.jpg": "a.png",
        "x/y/a.b.jpg": "x/y/a.b.png",
        "a": "a.png",
        "./a.jpg": "a.png",
        "..a.jpg": "..a.png",
        ".jpg": ".jpg.png",
    }
    assert {name: str(relative_png(name)) for name in names} == names


def test_two_photographs_of_one_stem(tmp_path):
    mask = np.zeros((1, 1), np.uint8)
    pseudo_labels = [
        PseudoLabel(file_name=name, image=None, labels=(), mask=mask) for name in ("a.jpg", "a.png")
    ]
    with pytest.raises(InputError, match=r"'a\.jpg' and 'a\.png' would both become a\.png"):
        _write(pseudo_labels, tmp_path)


def test_encode_png_of_every_value():
    values = np.arange(256, dtype=np.uint8).reshape(8, 32)
    for palette, colour_type in ((None, 0), (voc_palette(), 3)):
        data = encode_png(values, palette)
        assert (data[:8], data[24], data[25]) == (
            b"\x89PNG\r\n\x1a\n",
            8,
            colour_type,
        )  # 8 bits a pixel: grayscale or palette
