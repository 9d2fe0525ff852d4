"""The recipes of VOC and of a folder of photographs, through every stage."""

import io
import json
import pathlib
import re

import pytest
from end_to_end import recipe
from PIL import Image
from tiny_datasets import make_folder, make_voc

from hfpl_jax import pipeline
from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.runtime.records import RecordReader

pytestmark = pytest.mark.slow

SMALL = {
    "model.weights": "random",
    "model.backbone": "resnet18",
    "model.resnet.width": 16,
    "model.resnet.output_stride": 16,
    "train.crop_size": 32,
    "train.resize_long": (32, 40),
    "inference.long_side": 48,
    "run.cam_batch_size": 4,
}


def metrics_of(workdir):
    return json.loads((workdir / "metrics" / "metrics.json").read_text())


def _objects(count, start=0):
    names = (("cat", "sofa"), ("dog",), ("person", "dog"))
    return {f"2007_{start + index:06d}": names[index % 3] for index in range(count)}


def test_voc_recipe(tmp_path):
    train, val = _objects(8), _objects(4, 50)
    root = make_voc(
        tmp_path / "VOCdevkit" / "VOC2012",
        {"train": train, "trainaug": train | _objects(4, 20), "val": val},
    ).parent
    config = recipe("cam", "data=voc,debug", data__root=str(root))
    config.update_from_flattened_dict(SMALL)
    pipeline.run(config, tmp_path / "run")
    metrics = metrics_of(tmp_path / "run")
    assert "val/cam/miou" in metrics
    assert metrics["threshold"] == metrics["train/cam/own_best_threshold"]
    labels = RecordReader(tmp_path / "run" / "labels" / "trainaug")
    assert {record["file_name"] for record in labels} == {
        f"{name}.jpg" for name in train | _objects(4, 20)
    }


def test_folder_recipe_without_masks(tmp_path):
    names = tuple(f"{index}.jpg" for index in range(8))
    labels = ("dog", "cat;dog", "dog", "cat;dog", "dog", "cat", "background", "cat;dog")
    lines = "".join(f"{name},{label}\n" for name, label in zip(names, labels, strict=True))
    root = make_folder(tmp_path / "photos", f"file_name,labels\n{lines}", names)
    config = recipe("cam", "data=folder,debug", data__root=str(root), export__formats=("png",))
    config.update_from_flattened_dict(SMALL)
    pipeline.run(config, tmp_path / "run")
    metrics = metrics_of(tmp_path / "run")
    cut, f1 = metrics.pop("class_cut"), metrics.pop("class_cut_f1")
    assert 0 <= cut < 1
    assert 0 < f1 <= 1
    assert metrics == {
        "threshold": 0.25,
        "threshold_rule": "default, as no training photograph has a mask",
        "image_labels": "given image labels",
        "notices": [],
    }
    records = {
        record["file_name"]: record for record in RecordReader(tmp_path / "run/labels/train")
    }
    expected = [[1], [0, 1], [1], [0, 1], [1], [0], [], [0, 1]]  # cat is 0, dog is 1
    assert [records[name]["labels"] for name in names] == expected
    assert not decode_mask(records["6.jpg"]["mask"], "6.jpg").any()
    page = (tmp_path / "run" / "report" / "report.html").read_text()
    captions = re.findall(r"<figcaption>(\S+) <span>(.*?)</span>", page)
    shown = [", ".join(("cat", "dog")[index] for index in indices) for indices in expected]
    assert captions == list(zip(names, shown, strict=True))
    assert page.count('<div class="panel">no mask</div>') == len(names)
    with Image.open(
        io.BytesIO(next(pathlib.Path(tmp_path / "run" / "export").rglob("*.png")).read_bytes())
    ) as mask:
        assert mask.size == (30, 20)
