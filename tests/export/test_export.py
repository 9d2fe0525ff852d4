import dataclasses
import pathlib
import resource
import subprocess
import sys

import numpy as np
import pytest
from pseudo_labels import CLASS_NAMES, make

from hfpl_jax.errors import InputError
from hfpl_jax.export import FORMATS, PseudoLabel, export
from hfpl_jax.instance import Instance, encode_rle


def _export(pseudo_labels, directory, **changes):
    options = {"format": "png", "class_names": CLASS_NAMES, "split": "train"} | changes
    return export(pseudo_labels, directory, **options)


def _files(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "zip"}, r"'zip' is unknown.*tfrecord, array_record, png, coco"),
        ({"split": "../train"}, r"split name '\.\./train'"),
        ({"split": ""}, "split name ''"),
        ({"class_names": ()}, "class names"),
        ({"class_names": ("cat", "cat")}, "class names"),
        ({"class_names": ("cat", " dog")}, "class names"),
        ({"class_names": [str(i) for i in range(255)]}, "class names"),
        ({"class_names": ("cat",)}, r"a\.jpg has labels \[\d\].*from 0 to 0"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_bad_request(tmp_path, format, changes, message):
    pseudo_labels = (
        [make(seed=3)[i] for i in (2, 0, 1, 3, 4)] if "class_names" not in changes else make(seed=3)
    )
    with pytest.raises(InputError, match=message):
        _export(pseudo_labels, tmp_path, **{"format": format, **changes})
    assert _files(tmp_path) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mask": np.array([[0, 4, 255, 254]], np.uint8), "confidence": None},
            r"mask of a\.jpg holds \[4, 254\].*1 to 3",
        ),
        (
            {"mask": np.zeros((0, 4), np.uint8), "confidence": None},
            r"a\.jpg has a mask of size \(0, 4\)",
        ),
        ({"labels": (3,)}, r"a\.jpg has labels \[3\].*from 0 to 2"),
        ({"labels": (1, 0)}, "ascending"),
        ({"labels": (1, 1)}, "ascending"),
        ({"labels": (-1,)}, r"labels \[-1\]"),
    ],
)
def test_bad_pseudo_label(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        _export([dataclasses.replace(make(2)[0], **change)], tmp_path)


FOUND = Instance(0, encode_rle(np.eye(7, 12, dtype=bool)), score=0.5, peak=(6, 11))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 3}, r"instance of a\.jpg has the label 3; labels are from 0 to 2"),
        ({"segmentation": encode_rle(np.eye(12, 7, dtype=bool))}, r"a mask of size \[12, 7\]"),
        ({"score": None}, r"instance of a\.jpg has .* the score None"),
        ({"score": float("nan")}, r"the score nan"),
        ({"peak": None}, r"the peak None; it needs a mask of size \[7, 12\]"),
        ({"peak": (7, 0)}, r"the peak \(7, 0\)"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_bad_instance(tmp_path, format, change, message):
    instances = (FOUND, dataclasses.replace(FOUND, **change))
    with pytest.raises(InputError, match=message):
        _export([dataclasses.replace(make(2)[0], instances=instances)], tmp_path, format=format)
    assert _files(tmp_path) == {}


def test_shapes_and_types_are_checked_when_made():
    good = {"file_name": "a", "image": None, "labels": (), "mask": np.zeros((2, 3), np.uint8)}
    PseudoLabel(**good, confidence=np.zeros((2, 3), np.uint8))
    for bad in (
        {"mask": np.zeros((2, 3), np.int64)},
        {"mask": np.zeros((2, 3, 1), np.uint8)},
        {"confidence": np.zeros((3, 2), np.uint8)},
    ):
        with pytest.raises(TypeError):
            PseudoLabel(**good | bad)


def test_a_photograph_twice(tmp_path):
    pseudo_labels = make(3)
    with pytest.raises(InputError, match=r"'a\.jpg' has two pseudo-labels"):
        _export([*pseudo_labels, pseudo_labels[0]], tmp_path)


class Interrupted(list):
    """The last one is never read."""

    def __getitem__(self, index):
        if index == len(self) - 1:
            raise KeyboardInterrupt
        return super().__getitem__(index)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_to_export(tmp_path, format):
    with pytest.raises(InputError, match="no pseudo-labels of split 'train'"):
        _export([], tmp_path, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_interrupted_first_export_leaves_nothing(tmp_path, format):
    with pytest.raises(KeyboardInterrupt):
        _export(Interrupted(make(5)), tmp_path, format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_interrupted_second_export_leaves_the_first(tmp_path, format):
    _export(make(5), tmp_path, format=format)
    before = _files(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        _export(Interrupted(make(5, seed=1)), tmp_path, format=format)
    assert _files(tmp_path) == before


@pytest.mark.parametrize("format", FORMATS)
def test_export_again_replaces_and_removes_leftovers(tmp_path, format, folders_stay):
    _export(make(5), tmp_path / "once", format=format)
    _export(make(4, seed=1), tmp_path / "twice", format=format)
    leftover = tmp_path / "twice" / "train.incomplete"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"half")
    _export(make(5), tmp_path / "twice", format=format)
    assert _files(tmp_path / "twice") == _files(tmp_path / "once")
    assert not leftover.exists()


@pytest.mark.parametrize("format", FORMATS)
def test_full_disk(tmp_path, format):
    _export(make(5), tmp_path, format=format)
    before = _files(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (64, hard)
    )  # no file may grow beyond 64 bytes: writing fails as on a full disk
    try:
        with pytest.raises(InputError, match=r"Cannot write .*train.*Free some space"):
            _export(make(5, seed=1), tmp_path, format=format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _files(tmp_path) == before


@pytest.mark.parametrize("format", FORMATS)
def test_file_in_the_way(tmp_path, format):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"Cannot write .*file"):
        _export(make(2), tmp_path / "file", format=format)


def test_tensorflow_is_never_imported(tmp_path):
    program = (
        "import sys; from pseudo_labels import CLASS_NAMES, make; from hfpl_jax.export import "
        "FORMATS, export\n"
        "for format in FORMATS: export(make(5), sys.argv[1] + '/' + format, format=format, "
        "class_names=CLASS_NAMES, split='s')\n"
        "import tensorflow_datasets as tfds\n"
        "assert len(list(tfds.builder_from_directory(sys.argv[1] + "
        "'/array_record').as_data_source('s'))) == 5\n"
        "assert not {'tensorflow', 'torch', 'cv2'} & set(sys.modules)\n"
    )
    tests = pathlib.Path(__file__).parent
    subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        check=True,
        env={"PYTHONPATH": f"{tests}:{tests.parents[1]}"},
    )
