"""From photographs to pseudo-labels: all stages in this process, and the command killed
in the middle.
"""

import json
import os
import shutil
import signal
import time

import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds
from end_to_end import (
    command,
    expected_pictures,
    finished,
    flags,
    pictures,
    tiny,
    until,
)
from PIL import Image

import hfpl_jax
from hfpl_jax import pipeline, predict
from hfpl_jax.data.dataset import Dataset, decode_mask
from hfpl_jax.inference.cam_record import CamRecord, as_stored
from hfpl_jax.runtime.manifest import read_manifest, result_folder
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.stages.notices import background_notices, threshold_notices

pytestmark = pytest.mark.optimized

WHOLE = "train/*/checkpoints/*/commit_success.txt"
"""Of every checkpoint, once it is whole."""


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The workdir of a run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    pipeline.run(tiny(), workdir)
    return workdir


def _metrics(workdir):
    return json.loads((workdir / "metrics" / "metrics.json").read_text())


def _check_export(examples, workdir):
    """Decoded examples against the records they were made from and against the
    photographs.
    """
    records = sorted(RecordReader(workdir / "labels" / "train"), key=lambda record: record["index"])
    assert len(examples) == len(records) == 24
    for example, record in zip(examples, records, strict=True):
        assert example["file_name"].decode() == record["file_name"]
        assert list(example["labels"]) == record["labels"]
        np.testing.assert_array_equal(
            example["segmentation_mask"][..., 0], decode_mask(record["mask"], "")
        )
        np.testing.assert_array_equal(
            example["confidence"][..., 0], decode_mask(record["confidence"], "")
        )
        assert example["image"].shape == (example["height"], example["width"], 3)
        assert set(np.unique(example["segmentation_mask"])) <= {
            0,
            *(label + 1 for label in record["labels"]),
        }


def test_every_stage_leaves_its_result(undisturbed):
    stages = [stage.name for stage in pipeline.stages_of(tiny())]
    for stage in stages[1:]:
        assert read_manifest(undisturbed / stage)["done"] is True
    assert {path.name for path in undisturbed.iterdir()} == set(stages)
    assert not list(undisturbed.rglob("*.incomplete"))
    (names,) = (undisturbed / "train").rglob("class_names.json")
    assert (
        json.loads(names.read_text())
        == list(Dataset(undisturbed / "data" / "scenes" / "1.0.0").class_names)
        != []
    )
    rows = [
        json.loads(line)
        for line in (result_folder(undisturbed / "train") / "metrics.jsonl")
        .read_text()
        .splitlines()
    ]
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12]
    for split, count in (("train", 24), ("val", 8)):
        records = RecordReader(undisturbed / "cams" / split)
        assert sorted(record["index"] for record in records) == list(range(count))


def test_metrics_are_a_flat_dict_of_floats_beside_the_rule(undisturbed):
    metrics = _metrics(undisturbed)
    assert metrics.pop("threshold_rule") == "best mIoU on the masks of training photographs"
    assert metrics.pop("image_labels") == "given image labels"
    assert metrics.pop("notices") == [
        *threshold_notices(metrics["threshold"], given=False),
        *background_notices(metrics, "cam"),
    ]
    assert all(isinstance(value, float) and 0.0 <= value <= 1.0 for value in metrics.values())
    assert {
        "train/cam/miou",
        "val/cam/miou",
        "train/cam/contour_f",
        "val/cam/contour_f",
        "threshold",
    } <= set(metrics)
    # The threshold is the best one of train, and val takes it over.
    assert metrics["threshold"] == metrics["train/cam/own_best_threshold"]
    assert metrics["train/cam/miou"] == metrics["train/cam/miou_at_own_best_threshold"]
    assert metrics["val/cam/miou"] <= metrics["val/cam/miou_at_own_best_threshold"]


def test_report_says_the_figures_and_shows_each_photograph_with_its_own_maps(undisturbed):
    page = (undisturbed / "report" / "report.html").read_text()
    metrics = _metrics(undisturbed)
    for role in ("train", "val"):
        for figure, name in (("miou", "mIoU"), ("contour_f_present", "contour F")):
            value = 100 * metrics[f"{role}/cam/{figure}"]
            assert f"<b>{value:.1f}</b><span>{role}/cam {name}, %</span>" in page
    for notice in metrics["notices"]:
        assert f"<p>{notice}</p>" in page
    assert ('class="notices"' in page) == bool(metrics["notices"])
    assert f"{metrics['threshold']:.2f}: {metrics['threshold_rule']}" in page
    assert (
        "resnet18 (output_stride 16, version v1.5, dilation exact, width 16), from random weights"
        in page
    )
    assert 'src="http' not in page
    assert pictures(undisturbed) == expected_pictures(undisturbed)


@pytest.mark.slow
def test_notices_are_the_last_lines_of_the_command_also_when_all_is_done(undisturbed, tmp_path):
    workdir = shutil.copytree(undisturbed, tmp_path / "run", copy_function=os.link)
    path = result_folder(workdir / "train") / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["facts"]["notices"] = ["The loss leapt at step 180 and stayed high."]
    path.unlink()  # a link
    path.write_text(json.dumps(manifest))
    options = ["--config=configs/quickstart.py:debug", f"--workdir={workdir}", *flags()]
    status, out, err = finished(command(*options))
    assert status == 0, err
    assert "started" not in err
    notices = manifest["facts"]["notices"] + _metrics(workdir)["notices"]
    report = workdir / "report"
    assert out == f"Report:  {report / 'report.html'}\nPicture: {report / 'grid.png'}\n" + "".join(
        f"\nNotice: {notice}\n" for notice in notices
    )


def test_a_second_run_does_nothing(undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    pipeline.run(tiny(), undisturbed)
    assert {
        path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()
    } == before


def test_tfrecord_export_is_read_back(undisturbed):
    builder = tfds.builder_from_directory(undisturbed / "export")
    assert builder.info.splits["train"].num_examples == 24
    shards = sorted((undisturbed / "export").glob("*.tfrecord-*"))
    records = [
        record for shard in shards for record in grain.experimental.TFRecordIterDataset(str(shard))
    ]
    _check_export(
        [builder.info.features.deserialize_example_np(record) for record in records], undisturbed
    )


def test_another_format_writes_the_export_alone(undisturbed, tmp_path):
    workdir = shutil.copytree(undisturbed, tmp_path / "run", copy_function=os.link)
    before = (workdir / "labels" / "manifest.json").stat().st_mtime_ns
    pipeline.run(tiny(export__format="array_record"), workdir)
    assert not list((workdir / "export").glob("*.tfrecord-*"))
    source = tfds.builder_from_directory(workdir / "export").as_data_source("train")
    _check_export(list(source), workdir)
    pipeline.run(tiny(export__format="png"), workdir)
    assert len(list((workdir / "export").rglob("*.png"))) == 2 * 24  # masks and confidences
    pipeline.run(tiny(export__format="coco"), workdir)
    content = json.loads(next((workdir / "export").glob("train*.json")).read_text())
    assert len(content["images"]) == 24
    assert (workdir / "labels" / "manifest.json").stat().st_mtime_ns == before


def test_predicted_image_labels_and_an_ignore_band(undisturbed, tmp_path):
    workdir = shutil.copytree(undisturbed, tmp_path / "run", copy_function=os.link)
    config = tiny(
        inference__image_labels="predicted",
        labels__threshold="0.5",
        refine__threshold__ignore_band=(0.3, 0.6),
    )
    pipeline.run(config, workdir)
    metrics = _metrics(workdir)
    assert metrics["image_labels"] == "predicted image labels"
    assert (metrics["threshold"], metrics["threshold_rule"]) == (0.5, "given")
    assert read_manifest(workdir / "train") == read_manifest(undisturbed / "train")
    masks = {
        record["file_name"]: decode_mask(record["mask"], "")
        for record in RecordReader(workdir / "labels" / "train")
    }
    ignored = 0
    for cam in map(CamRecord.decode, RecordReader(workdir / "cams" / "train")):
        strongest = cam.cams.max(axis=-1)
        undecided = (strongest > 0.3) & (strongest <= np.float32(0.6))
        np.testing.assert_array_equal(masks[cam.file_name] == 255, undecided)
        classes = np.concatenate([[0], 1 + cam.classes])
        expected = np.where(strongest > 0.6, classes[1 + cam.cams.argmax(axis=-1)], 0)
        np.testing.assert_array_equal(masks[cam.file_name][~undecided], expected[~undecided])
        ignored += undecided.sum()
    assert ignored > 0


def _kill_when(process, ready, folder):
    """SIGKILL as soon as `ready()`; the stage must not have finished by then."""
    until(ready, process)
    process.send_signal(signal.SIGKILL)
    assert finished(process)[0] == -signal.SIGKILL
    assert read_manifest(folder)["done"] is False


@pytest.mark.slow
def test_kills_in_the_middle_of_training_and_of_inference_change_nothing(undisturbed, tmp_path):
    options = ["--config=configs/quickstart.py:debug", f"--workdir={tmp_path}", *flags()]
    shards = tmp_path / "cams" / "train"

    def saved():
        return [int(path.parent.name) for path in tmp_path.glob(WHOLE)]

    _kill_when(command(*options), saved, tmp_path / "train")
    step = max(saved())
    assert step < 12
    _kill_when(
        command(*options),
        lambda: list(shards.glob("*.array_record")),
        tmp_path / "cams",
    )
    first = {path: path.stat().st_mtime_ns for path in shards.glob("*.array_record")}
    assert len(first) < 6
    status, out, err = finished(command(*options))
    assert status == 0, err
    assert out.startswith(f"Report:  {tmp_path / 'report' / 'report.html'}\nPicture: ")
    assert pictures(tmp_path) == expected_pictures(tmp_path)
    assert "train: done already." in err
    assert {
        path: path.stat().st_mtime_ns for path in first
    } == first  # what was done was not done again
    assert _metrics(tmp_path) == _metrics(undisturbed)
    ours, theirs = (
        sorted((result_folder(workdir / "train") / "metrics.jsonl").read_text().splitlines())
        for workdir in (tmp_path, undisturbed)
    )
    assert ours == theirs
    names = sorted(
        path.relative_to(undisturbed / "export")
        for path in (undisturbed / "export").rglob("*.tfrecord-*")
    )
    assert names
    for name in names:
        assert (tmp_path / "export" / name).read_bytes() == (
            undisturbed / "export" / name
        ).read_bytes()


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_inference_saves_and_ends_well(
    undisturbed, tmp_path
):  # of training: test_chaos
    options = ["--config=configs/quickstart.py:debug", f"--workdir={tmp_path}", *flags()]
    for name in ("data", "train"):
        shutil.copytree(undisturbed / name, tmp_path / name)
    process = command(*options)
    until(lambda: list(tmp_path.glob("cams/train/*.array_record")), process)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    status, _, err = finished(process)
    assert status == 130, err
    assert time.monotonic() - asked < 30
    assert "Traceback" not in err
    assert "Stopped as asked, and saved." in err
    assert json.loads((tmp_path / "cams" / "manifest.json").read_text())["done"] is False
    status, _, err = finished(command(*options))
    assert status == 0, err
    assert _metrics(tmp_path) == _metrics(undisturbed)


@pytest.mark.slow
def test_new_photographs_are_labelled_as_those_of_the_run(undisturbed, tmp_path, monkeypatch):
    """Where the configuration, the dataset and the pipeline's folders are gone."""
    workdir = shutil.copytree(undisturbed, tmp_path / "run", copy_function=os.link)
    fields = {
        "export.format": "array_record",
        "segmentation.epochs": 4,  # after the first its masks are background alone
        "segmentation.batch_size": 8,
        "segmentation.crop_size": 64,
        "segmentation.scales": (0.75, 1.0),
    }
    pipeline.run(tiny(**fields), workdir)
    model, kept = workdir / "model", ("train", "segmentation")
    dataset = Dataset(workdir / "data" / "scenes" / "1.0.0")
    for name in kept:
        shutil.copytree(workdir / name, model / name)
    for split in ("train", "val"):
        lines = ["file_name,labels"]
        for example in dataset.split(split):
            path = tmp_path / split / example.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(example.image)
            labels = ";".join(dataset.class_names[label] for label in example.labels)
            lines.append(f"{example.file_name},{labels}")
        (tmp_path / f"{split}.csv").write_text("\n".join(lines) + "\n")

    def predicted(split, *options):
        output = tmp_path / f"masks of {split}"
        arguments = [f"--run={model}", f"--photographs={tmp_path / split}", f"--output={output}"]
        predict.main([*arguments, *options])
        return output

    for change in ("listen", "nothing_left_to_save"):  # signals stay those of the tests
        monkeypatch.setattr(predict.termination, change, lambda: None)
    output = predicted("val") / "predictions"
    records = list(RecordReader(workdir / "predictions" / "val"))
    assert len(records) == 8
    shares = []
    for record in records:
        of_stage = decode_mask(record["mask"], "")
        with Image.open((output / "masks" / record["file_name"]).with_suffix(".png")) as mask:
            np.testing.assert_array_equal(np.array(mask), of_stage)
        shares.append(np.mean(of_stage > 0))
    assert np.mean(shares) > 0.05
    assert sum(share > 0.05 for share in shares) >= 3

    options = ("--network=cam", f"--labels={tmp_path / 'train.csv'}", "--format=array_record")
    output = predicted("train", *options)
    ours, theirs = (
        list(tfds.builder_from_directory(folder).as_data_source(split))
        for folder, split in ((output, "predictions"), (workdir / "export", "train"))
    )
    _check_export(ours, workdir)
    assert len(ours) == len(theirs) == 24
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for field in one:
            np.testing.assert_array_equal(one[field], other[field])

    network = hfpl_jax.load(workdir, "cam")
    cams = map(CamRecord.decode, RecordReader(workdir / "cams" / "val"))
    of_stage = {record.file_name: record for record in cams}
    examples = list(dataset.split("val"))
    for example, made in zip(
        examples,
        network.cams([example.pixels() for example in examples], [e.labels for e in examples]),
        strict=True,
    ):
        np.testing.assert_array_equal(as_stored(made), of_stage[example.file_name].cams)
    metrics = _metrics(workdir)
    assert network.model.threshold == metrics["threshold"]
    assert network.model.class_cut == metrics["class_cut"]
