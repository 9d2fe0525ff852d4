"""Rows, painted as polygons in their order, are the mask but for what YOLO cannot say."""

import json

import numpy as np
import pytest
import yaml
from kill_at_renames import killed_at_every_rename
from PIL import Image, ImageDraw
from pseudo_labels import CLASS_NAMES, make
from scipy import ndimage

from hfpl_jax.errors import InputError
from hfpl_jax.export import PseudoLabel, check_exportable, export
from hfpl_jax.export.outline import outline
from hfpl_jax.export.yolo import yolo_rows


def _write(pseudo_labels, directory, *, split="train", class_names=CLASS_NAMES):
    places = {"yolo": directory}
    return export(pseudo_labels, places, class_names=class_names, split=split)["yolo"]


def painted(rows, shape, cut):
    """By a reader that rounds or cuts off."""
    height, width = shape
    picture = Image.new("L", (width, height))
    for row in rows:
        label, *shares = row.split()
        assert len(shares) >= 6
        points = cut(np.asarray(shares, np.float32).reshape(-1, 2) * [width, height])
        colour = int(label) + 1
        draw = ImageDraw.Draw(picture)
        draw.polygon([tuple(map(int, point)) for point in points], fill=colour, outline=colour)
    return np.asarray(picture)


MASKS = {
    "a pixel": ([[0, 0], [0, 1]], ["0 0.625000 0.625000" + 2 * " 0.625000 0.625000"], [1, 0, 0, 0]),
    "a line": (
        [[2, 2, 2, 2]],
        ["1 0.062500 0.250000 0.812500 0.250000 0.812500 0.250000"],
        [1, 0, 0, 0],
    ),
    "a square, the larger region first": (
        [[1, 0, 3, 3], [0, 255, 3, 3]],
        [
            "2 0.562500 0.125000 0.812500 0.125000 0.812500 0.625000 0.562500 0.625000",
            "0 0.062500 0.125000 0.062500 0.125000 0.062500 0.125000",
        ],
        [2, 0, 0, 1],
    ),
    "nothing": ([[0, 255]], [], [0, 0, 0, 1]),
}


@pytest.mark.parametrize(("mask", "rows", "counts"), MASKS.values(), ids=MASKS)
def test_rows_in_full(mask, rows, counts):
    assert yolo_rows(np.array(mask, np.uint8)) == (rows, counts)


def test_a_hole_is_filled_and_counted_what_lies_in_it_is_on_top():
    mask = np.ones((7, 9), np.uint8)
    mask[1:6, 1:8] = 0
    mask[3, 3] = 2
    mask[2, 6] = 255
    rows, counts = yolo_rows(mask)
    assert counts == [2, 1, 35, 1]
    expected = np.ones_like(mask)
    expected[3, 3] = 2
    np.testing.assert_array_equal(painted(rows, mask.shape, np.floor), expected)


@pytest.mark.parametrize("cut", [np.floor, np.round], ids=["cut off", "rounded"])
def test_regions_without_holes_come_back_pixel_for_pixel(cut):
    """Of blobs and noise, with pixels that touch at corners and lines one pixel wide."""
    rng = np.random.default_rng(0)
    for sigma in (0, 0.8, 2, 4):
        for _ in range(10):
            height, width = rng.integers(1, 30, 2)
            noise = ndimage.gaussian_filter(rng.random((height, width)), sigma)
            mask = (noise > np.quantile(noise, rng.random())).astype(np.uint8)
            numbered, count = ndimage.label(mask, np.ones((3, 3)))
            for number in range(1, count + 1):
                filled = ndimage.binary_fill_holes(numbered == number).astype(np.uint8)
                rows, counts = yolo_rows(filled)
                assert (len(rows), counts) == (1, [1, 0, 0, 0])
                np.testing.assert_array_equal(painted(rows, filled.shape, cut), filled)


def test_an_outline_turns_at_its_corners_alone():
    region = np.array([[0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]], bool)
    found = outline(region).tolist()
    assert found == [[1, 0], [3, 0], [3, 1], [2, 1], [1, 2], [0, 2], [0, 1]]


def test_files(tmp_path, caplog):
    pseudo_labels = make(5)
    assert _write(pseudo_labels, tmp_path) == tmp_path / "data.yaml"
    totals = np.zeros(4, int)
    for stem, one in zip(
        ("a", "sub/b", "später", "c.d", "2007_000032"), pseudo_labels, strict=True
    ):
        rows, counts = yolo_rows(one.mask)
        assert (tmp_path / "labels/train" / f"{stem}.txt").read_text().splitlines() == rows
        assert (tmp_path / "images/train" / one.file_name).read_bytes() == one.image
        totals += counts
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "train": ["images/train"],
        "val": "images/train",
        "names": dict(enumerate(CLASS_NAMES)),
    }
    regions, with_holes, in_holes, ignored = totals.tolist()
    assert min(regions, with_holes, in_holes, ignored) > 0
    assert json.loads((tmp_path / "train.json").read_text()) == {
        "photographs": 5,
        "regions": regions,
        "regions_with_holes": with_holes,
        "pixels_in_holes": in_holes,
        "ignored_pixels": ignored,
    }
    assert caplog.messages[-1] == (
        f"YOLO's rows of {regions} regions say neither confidence nor what to ignore nor holes: "
        f"{ignored} ignored pixels become background, {in_holes} pixels in holes of {with_holes} "
        "regions become theirs."
    )


def test_splits_share_a_folder(tmp_path):
    names = ('say "cheese"', "no", "1e3")  # which YAML would take for a truth and a number
    _write(make(3), tmp_path, class_names=names)
    _write(make(2, image=False), tmp_path, split="val", class_names=names)
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "train": ["images/train"],
        "val": "images/val",
        "names": dict(enumerate(names)),
    }
    assert not (tmp_path / "images/val").exists()
    with pytest.raises(InputError, match=r"already holds the splits \['val'\] with other classes"):
        _write(make(3), tmp_path)


def test_a_kill_at_any_rename_leaves_a_description_of_whole_splits(tmp_path):
    def check(folder):
        if not (folder / "data.yaml").exists():
            return 0
        texts = list((folder / "labels" / "train").rglob("*.txt"))
        by_stem = {path.stem: path.read_text().splitlines() for path in texts}
        made = make(2) if len(texts) == 2 else make(3, seed=1)
        assert len(texts) == len(made)
        for one in made:
            stem = one.file_name.rpartition("/")[2].rpartition(".")[0]
            assert by_stem[stem] == yolo_rows(one.mask)[0]
        return len(made)

    outcomes = killed_at_every_rename(
        tmp_path,
        lambda folder: _write(make(2), folder),
        lambda folder: _write(make(3, seed=1), folder),
        check,
    )
    assert outcomes == [0] * (len(outcomes) - 1) + [3]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/images/1.jpg"], r"'a/images/1\.jpg' lies in a folder 'images'.*Rename the folder"),
        (["a.jpg", "a.png"], r"would both become a\.txt in an export as yolo"),
    ],
)
def test_photographs_whose_labels_would_be_looked_for_elsewhere(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        check_exportable(["yolo"], split="train", class_names=["cat"], file_names=names)
    mask = np.zeros((1, 1), np.uint8)
    with pytest.raises(InputError, match=message):
        _write([PseudoLabel(name, None, (), mask) for name in names], tmp_path)
