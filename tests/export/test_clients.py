"""Exports read back pixel for pixel by the programs that they are for, each in a process
of its own: `pip install -e '.[clients]'`. Where one is missing its test is skipped; the
bytes are held by the tests of each format.
"""

import importlib.util
import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pseudo_labels import CLASS_NAMES, make

from hfpl_jax.export import PseudoLabel, export


def read(client, folder):
    if importlib.util.find_spec(client) is None:
        pytest.skip(f"{client} is not installed")
    script = pathlib.Path(__file__).with_name("read_with_clients.py")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "TQDM_DISABLE": "1"}
    command = [sys.executable, script, client, folder, folder / "found.npz"]
    subprocess.run(command, check=True, env=os.environ | offline)
    with np.load(folder / "found.npz", allow_pickle=False) as found:
        return dict(found)


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.slow
def test_hugging_face_datasets(tmp_path):
    expected = {}
    for split, pseudo_labels in (("train", make(5)), ("val", make(3, seed=1))):
        places = {"parquet": tmp_path / "parquet"}
        export(pseudo_labels, places, class_names=CLASS_NAMES, split=split)
        expected[f"{split}/classes"] = CLASS_NAMES
        for one in pseudo_labels:
            place = f"{split}/{one.file_name}"
            expected[f"{place}/labels"] = one.labels
            expected[f"{place}/image"] = pixels(one.image)
            expected[f"{place}/mask"] = one.mask
            expected[f"{place}/confidence"] = one.confidence
    equal(read("datasets", tmp_path), expected)


@pytest.mark.slow
def test_datumaro(tmp_path):
    """It takes the colours of labelmap.txt, so of grey masks it takes none."""
    export(make(5), {"voc": tmp_path / "voc"}, class_names=CLASS_NAMES, split="train")
    masks = {f"train/{one.file_name.rpartition('.')[0]}/mask": one.mask for one in make(5)}
    equal(read("datumaro", tmp_path), {"train/classes": CLASS_NAMES, **masks})


def drawn():
    """Of regions without holes and ignored pixels, a single one and a line among them."""
    rows, columns = np.mgrid[:37, :53]
    mask = np.zeros((37, 53), np.uint8)
    mask[(rows - 12) ** 2 + (columns - 14) ** 2 < 81] = 1
    mask[(rows - 20) ** 2 + 2 * (columns - 33) ** 2 < 230] = 3
    mask[rows == columns - 14] = 2
    mask[36, 0] = 2
    return mask


@pytest.mark.slow
def test_supervision(tmp_path):
    data = io.BytesIO()
    Image.new("RGB", (53, 37)).save(data, "JPEG")
    names, masks = ("a.jpg", "b.jpg"), (drawn(), drawn()[::-1].copy())
    pseudo_labels = [
        PseudoLabel(name, data.getvalue(), (0, 1, 2), mask)
        for name, mask in zip(names, masks, strict=True)
    ]
    places = {"yolo": tmp_path / "yolo", "coco": tmp_path / "coco"}
    export(pseudo_labels, places, class_names=CLASS_NAMES, split="train")
    expected = {}
    for format in places:
        expected[f"{format}/classes"] = CLASS_NAMES
        for name, mask in zip(names, masks, strict=True):
            expected[f"{format}/{name}/mask"] = mask
    equal(read("supervision", tmp_path), expected)


@pytest.mark.slow
def test_tfrecord_through_a_data_loader_of_torch(tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    places = {"tfrecord": tmp_path / "tfrecord"}
    labelled = [one for one in make(5) if one.labels]  # it cannot read an empty list
    export(labelled, places, class_names=CLASS_NAMES, split="train")
    expected = {}
    for one in labelled:
        expected[f"train/{one.file_name}/mask"] = one.mask
        expected[f"train/{one.file_name}/image"] = pixels(one.image)
        expected[f"train/{one.file_name}/labels"] = one.labels
    equal(read("tfrecord", tmp_path), expected)
