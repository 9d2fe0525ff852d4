"""The stage of instances on a small network of random numbers, whose photographs have
CAMs and pseudo-labels by hand.
"""

import io
import json

import jax
import numpy as np
import pytest
from finished_run import BACKBONE, CLASSES, CLASSIFIER, photographs, write_training
from PIL import Image

from hfpl_jax.data.dataset import Example, encode_mask
from hfpl_jax.defaults import default_config
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.instance import Instance, decode_rle, encode_rle
from hfpl_jax.runtime.records import RecordReader, RecordWriter
from hfpl_jax.stages import instances
from hfpl_jax.stages.context import Context

SHOWN = {"train": [(0,), (0, 2), ()], "val": [(1,)]}
THRESHOLD = 0.5


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def halves(example, label, other):
    """A mask whose left half is one class and whose right half the other."""
    columns = np.arange(example.width) < example.width // 2
    row = np.where(columns, label + 1, other + 1)
    return np.broadcast_to(row, (example.height, example.width)).astype(np.uint8)


class Dataset:
    name, class_names = "made up", CLASSES

    def __init__(self):
        pixels = iter(photographs())
        self._splits = {
            split: [
                self._example(f"{split}{index}.png", next(pixels), labels)
                for index, labels in enumerate(shown)
            ]
            for split, shown in SHOWN.items()
        }

    def _example(self, name, pixels, labels):
        true = tuple(Instance(label, encode_rle(pixels[..., 0] > 100)) for label in labels)
        return Example(name, png(pixels), np.array(labels, int), None, *pixels.shape[:2], true)

    def split(self, name):
        split = Named(self._splits[name])
        split.name = name
        return split


class Named(list):
    name = ""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """CAMs that are high on the left for every class; pseudo-labels of train alone,
    whose right half is the class "dog", which no photograph of train shows.
    """
    workdir, dataset = tmp_path_factory.mktemp("run"), Dataset()
    write_training(workdir, "train", CLASSIFIER)
    for split in SHOWN:
        with RecordWriter(workdir / "cams" / split) as cams:
            for index, example in reversed(list(enumerate(dataset.split(split)))):
                size = example.height, example.width, len(example.labels)
                maps = np.full(size, 0.2, np.float32)
                maps[:, : example.width // 2] = 0.9
                seen = np.full(len(CLASSES), 0.5, np.float32)
                shown = example.labels, example.labels
                cams.write(CamRecord(index, example.file_name, *shown, maps, seen).encode())
    with RecordWriter(workdir / "labels" / "train") as labels:
        for index, example in enumerate(dataset.split("train")):
            mask = halves(example, 0, 1)
            fields = {"index": index, "file_name": example.file_name, "labels": []}
            labels.write({**fields, "mask": encode_mask(mask), "confidence": encode_mask(mask)})
    (workdir / "metrics").mkdir()
    rule = {"threshold": THRESHOLD, "threshold_rule": "given", "image_labels": "given"}
    (workdir / "metrics" / "metrics.json").write_text(json.dumps(rule))
    return workdir


def context(workdir, **fields):
    config = default_config()
    settings = BACKBONE["settings"]
    config.update_from_flattened_dict(
        {
            "model.backbone": "resnet18",
            "model.resnet.width": settings["width"],
            "model.resnet.output_stride": settings["output_stride"],
            "model.weights": "random",
            "instances.enabled": True,
            "instances.peak_share": 0.0,
            "run.cam_batch_size": len(jax.local_devices()),
            "run.padded_shapes": 1,
            **fields,
        }
    )
    return Context(config, workdir, workdir / "instances", Dataset())


@pytest.fixture(scope="module")
def made(workdir):
    """(what the stage returns, file name -> instances)."""
    facts = instances.run(context(workdir))
    found = {
        record["file_name"]: [Instance.decode(one) for one in record["instances"]]
        for split in SHOWN
        for record in RecordReader(workdir / "instances" / split)
    }
    return facts, found


def test_the_pseudo_labels_are_the_regions(made):
    """Where the refiner made none, those that the CAMs were scored with."""
    _, found = made
    assert sorted(found) == ["train0.png", "train1.png", "train2.png", "val0.png"]
    assert found["train2.png"] == []  # it shows nothing
    dataset = Dataset()
    for split, label in (("train", 0), ("val", 1)):
        example = dataset.split(split)[0]
        left = np.arange(example.width) < example.width // 2
        assert {one.label for one in found[example.file_name]} == {label}
        for one in found[example.file_name]:
            region = decode_rle(one.segmentation)
            assert region.shape == (example.height, example.width)
            assert not (region & ~left).any()
            assert one.score > 0
            row, column = one.peak
            assert 0 <= row < example.height
            assert 0 <= column < example.width
    # Its mask has no region of the traffic light, nor is its dog among the labels.
    assert {one.label for one in found["train1.png"]} == {0}


def test_instances_are_counted_and_scored(made, workdir):
    facts, found = made
    assert json.loads((workdir / "instances" / "metrics.json").read_text()) == facts
    assert facts["train/instances/found"] == sum(
        len(each) for name, each in found.items() if name.startswith("train")
    )
    assert facts["val/instances/found"] == len(found["val0.png"])
    (true,) = Dataset().split("val")[0].instances
    mask = decode_rle(true.segmentation)
    hits = [bool(mask[one.peak]) for one in found["val0.png"]]
    assert facts["val/instances/pointing"] == pytest.approx(np.mean(hits))
    assert 0 <= facts["val/instances/map_25"] <= 1


def test_what_is_there_is_not_made_again(made, workdir, monkeypatch):
    monkeypatch.setattr(instances.PeakPredictor, "batches", lambda *arguments: iter(()))
    facts, _ = made
    assert instances.run(context(workdir)) == facts


def test_regions_of_a_file(workdir, tmp_path):
    """Of the photographs that it names alone."""
    path, example = tmp_path / "proposals.jsonl", Dataset().split("train")[1]
    top = np.zeros((example.height, example.width), bool)
    top[: example.height // 2] = True
    line = {"file_name": example.file_name, "segmentation": encode_rle(top)}
    path.write_text(json.dumps(line))
    given = context(workdir, **{"instances.proposals": str(path)})
    photographs = instances.Photographs(
        given, "train", instances.Instances.of(given.config.instances).given()
    )
    assert [len(one.proposals().regions) for one in photographs] == [0, 1, 0]
    np.testing.assert_array_equal(photographs[1].proposals().regions[0], top)
    np.testing.assert_array_equal(photographs[1].classes, [0, 2])
