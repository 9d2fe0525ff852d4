"""Two and four processes on this machine, each with devices of its own, against one."""

import io
import json
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from end_to_end import (
    ROOT,
    TINY,
    arguments_of,
    environment,
    expected_pictures,
    finished,
    flags,
    pictures,
    until,
)
from PIL import Image

from hfpl_jax import command_line, pipeline
from hfpl_jax.data.stored_features import StoredSplit
from hfpl_jax.runtime import distributed
from hfpl_jax.runtime.manifest import read_manifest, result_folder
from hfpl_jax.runtime.records import RecordReader, RecordWriter

pytestmark = pytest.mark.optimized

DEVICES = 8
FIELDS = TINY | {
    "refine.name": "crf",
    "run.cam_batch_size": 8,
    "train.epochs": 2,
    "run.log_every": 1,
}
NEIGHBOURS = {"neighbours.enabled": True}
UMASKS = 0o022, 0o020, 0o002, 0o000  # the mode of a file tells which process wrote it


HEARTBEAT_S = 20
COMMAND = f"""
import runpy
from hfpl_jax.runtime import distributed
distributed.HEARTBEAT_S = {HEARTBEAT_S}  # a minute is long for a test
runpy.run_module("hfpl_jax", run_name="__main__", alter_sys=True)
"""


def processes(count, workdir, *arguments, fields=FIELDS):
    """`count` started commands that share eight devices and `workdir`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = [f"--coordinator=localhost:{port}", f"--processes={count}"] if count > 1 else []
    command = [
        sys.executable,
        "-c",
        COMMAND,
        "--config=configs/quickstart.py:debug",
        f"--workdir={workdir}",
    ]
    command += [*together, *arguments, *flags(fields)]
    return [
        subprocess.Popen(
            [*command, *([f"--process={number}"] if together else [])],
            cwd=ROOT,
            env=environment(DEVICES // count),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=UMASKS[number],
        )
        for number in range(count)
    ]


def run(count, workdir, *arguments, **options):
    outputs = [finished(process) for process in processes(count, workdir, *arguments, **options)]
    assert [status for status, _, _ in outputs] == [0] * count, outputs[-1][2]
    return outputs


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("alone")
    run(1, workdir, fields=FIELDS | NEIGHBOURS)
    return workdir


def rows(workdir):
    return [
        json.loads(line)
        for line in (result_folder(workdir / "train") / "metrics.jsonl").read_text().splitlines()
    ]


def records(folder):
    return {record["file_name"]: record for record in RecordReader(folder)}


def exported(workdir):
    """The bytes of every record of the export, and what TFDS knows about it."""
    info = tfds.builder_from_directory(workdir / "export").info
    read = {
        "tfrecord": grain.experimental.TFRecordIterDataset,
        "array_record": lambda path: ArrayRecordReader(path).read_all(),
    }
    shards = [workdir / "export" / name for name in info.splits["train"].filenames]
    return [record for path in shards for record in read[info.file_format.value](str(path))], info


def exported_by_this_process(workdir, folder, fields):
    """The records, in their order, of the pseudo-labels in `workdir`."""
    for stage in ("data", "labels"):
        shutil.copytree(workdir / stage, folder / stage)
    pipeline.run(command_line.parse(arguments_of(folder, **fields)).config, folder, ["export"])
    return exported(folder)[0]


def exported_names(workdir):
    serialized, info = exported(workdir)
    return [
        info.features.deserialize_example_np(record)["file_name"].decode() for record in serialized
    ]


def assert_alike(ours, theirs):
    """Records of the same photographs; a device that is given more of them rounds
    otherwise: a step of 1/255 here and there.
    """
    assert ours.keys() == theirs.keys()
    for name, record in ours.items():
        other = theirs[name]
        assert (record["index"], record["labels"]) == (other["index"], other["labels"])
        for field in ("cams", "mask"):
            if record.get(field):
                left, right = (
                    np.asarray(Image.open(io.BytesIO(each[field]))).astype(int)
                    for each in (record, other)
                )
                apart = np.abs(left - right)
                assert (apart > 0).mean() < 0.01
                assert field == "mask" or apart.max() <= 1


def test_one_process_has_all_the_work():
    assert distributed.is_first()
    assert list(distributed.share(range(5))) == [0, 1, 2, 3, 4]
    counts = np.array([1, 2**40])
    np.testing.assert_array_equal(distributed.total(counts), counts)
    distributed.meet()  # waits for nobody


def test_forgotten_flag_under_slurm():
    assert (
        distributed.needs_distributed({"SLURM_NTASKS": "4", "SLURM_PROCID": "1"})
        == "Slurm started 4 tasks"
    )
    assert not distributed.needs_distributed({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"})
    assert not distributed.needs_distributed({"SLURM_NTASKS": "4"})  # the batch script itself
    assert not distributed.needs_distributed({})


@pytest.mark.slow
def test_two_processes_train_as_one(alone, tmp_path):
    outputs = run(2, tmp_path, "--stages=data,train")
    ours, theirs = rows(tmp_path), rows(alone)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    # Of the first step: in so small a network the next multiplies the rounding of sums
    # by hundreds.
    for name, value in theirs[0].items():
        assert ours[0][name] == pytest.approx(value, rel=1e-5), name
    for name in theirs[1].keys() - {"gradient_norm"}:  # the first update is the same too
        assert ours[1][name] == pytest.approx(theirs[1][name], rel=1e-4), name
    assert "train: done" in outputs[0][2]
    assert "train" not in outputs[1][2]  # only the first one talks


@pytest.mark.slow
@pytest.mark.parametrize(("count", "format"), [(2, "array_record"), (4, "tfrecord")])
def test_several_processes_make_and_export_what_one_does(
    alone, tmp_path, tmp_path_factory, count, format
):
    for stage in ("data", "train"):
        shutil.copytree(alone / stage, tmp_path / stage)
    fields = FIELDS | {"export.format": format}
    run(count, tmp_path, fields=fields)
    for stage in ("metrics", "labels"):
        ours, theirs = (
            json.loads((workdir / stage / "metrics.json").read_text())
            for workdir in (tmp_path, alone)
        )
        assert ours.keys() == theirs.keys()
        assert len(ours.pop("notices")) == len(theirs.pop("notices"))
        for name, value in theirs.items():
            assert ours[name] == (
                value if isinstance(value, str) else pytest.approx(value, abs=2e-3)
            ), name
    for stage, split in (
        ("cams", "train"),
        ("cams", "val"),
        ("labels", "train"),
        ("labels", "val"),
    ):
        ours, theirs = records(tmp_path / stage / split), records(alone / stage / split)
        assert_alike(ours, theirs)
        writers = {
            path.name[: len("records-p00")] for path in (tmp_path / stage / split).glob("records-*")
        }
        assert len(writers) == count
    assert exported_names(tmp_path) == exported_names(alone)
    assert pictures(tmp_path) == expected_pictures(tmp_path)

    ours, info = exported(tmp_path)
    assert ours == exported_by_this_process(tmp_path, tmp_path_factory.mktemp("one"), fields)
    modes = [
        stat.S_IMODE((tmp_path / "export" / name).stat().st_mode)
        for name in info.splits["train"].filenames
    ]
    assert modes == [0o666 & ~umask for umask in UMASKS[:count]]  # each process has written one
    assert not list((tmp_path / "export").glob("*.incomplete"))
    if format == "array_record":
        found = tfds.builder_from_directory(tmp_path / "export").as_data_source("train")
        assert {example["file_name"].decode() for example in found} == records(
            tmp_path / "labels" / "train"
        ).keys()


@pytest.mark.slow
def test_two_processes_find_the_neighbours_that_one_finds(alone, tmp_path):
    shutil.copytree(alone / "data", tmp_path / "data")
    run(2, tmp_path, "--stages=neighbours", fields=FIELDS | NEIGHBOURS)
    ours, theirs = (
        json.loads((workdir / "neighbours" / "neighbours.json").read_text())["nearest"]
        for workdir in (tmp_path, alone)
    )
    assert list(ours) == list(theirs)
    for name, nearest in theirs.items():
        cosines = [cosine for _, cosine in nearest]
        assert [cosine for _, cosine in ours[name]] == pytest.approx(cosines, abs=2e-3), name


@pytest.mark.slow
def test_two_processes_store_the_features_that_one_stores(alone, tmp_path):
    fields = FIELDS | {"method.name": "probe", "method.probe.long_side": 48}
    del fields["train.resize_long"]  # nothing reads it
    two, one = tmp_path / "two", tmp_path / "one"
    for workdir in (two, one):
        shutil.copytree(alone / "data", workdir / "data")
    run(2, two, "--stages=features", fields=fields)
    pipeline.run(command_line.parse(arguments_of(one, **fields)).config, one, ["features"])
    for name in ("train", "val"):
        ours, theirs = (StoredSplit(each / "features", name) for each in (two, one))
        assert len(ours) == len(theirs) > 0
        for left, right in zip(ours, theirs, strict=True):
            assert left.file_name == right.file_name
            np.testing.assert_array_equal(left.colours(), right.colours())
            for layer in theirs.strides:
                np.testing.assert_allclose(left.map(layer), right.map(layer), rtol=2e-3, atol=1e-3)
    shards = (two / "stored_features").glob("*/records-*")
    assert len({path.name[: len("records-p00")] for path in shards}) == 2


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_killed(alone, tmp_path):
    for stage in ("data", "train"):
        shutil.copytree(alone / stage, tmp_path / stage)
    both = processes(2, tmp_path)
    until(lambda: list((tmp_path / "cams").rglob("records-p01-*.array_record")), both[1])
    for process in both:
        process.send_signal(signal.SIGKILL)
        finished(process)
    run(1, tmp_path)
    for split in ("train", "val"):
        assert_alike(records(tmp_path / "cams" / split), records(alone / "cams" / split))


def _asked_to_stop(both, ready):
    """SIGTERM to both processes as soon as `ready()`; each saves and ends well."""
    until(ready, both[1])
    for process in both:
        process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    for process in both:
        status, _, err = finished(process)
        assert status == 0, err
        assert "Stopped as asked, and saved." in err
    assert time.monotonic() - asked < 30


@pytest.mark.slow
def test_all_processes_stop_as_asked(alone, tmp_path):
    shutil.copytree(alone / "data", tmp_path / "data")
    _asked_to_stop(
        processes(2, tmp_path),
        lambda: list(tmp_path.glob("train/*/checkpoints/*/commit_success.txt")),
    )
    assert not read_manifest(tmp_path / "train")["done"]
    _asked_to_stop(
        processes(2, tmp_path),
        lambda: list((tmp_path / "cams").rglob("records-p01-*.array_record")),
    )
    assert not json.loads((tmp_path / "cams" / "manifest.json").read_text())["done"]
    run(2, tmp_path, "--stages=data,train,cams")
    assert json.loads((tmp_path / "cams" / "manifest.json").read_text())["done"]
    for split in ("train", "val"):
        names = records(tmp_path / "cams" / split).keys()
        assert names == records(alone / "cams" / split).keys()
    assert [row["step"] for row in rows(tmp_path)] == [row["step"] for row in rows(alone)]


@pytest.mark.slow
def test_a_failing_process_ends_the_others(alone, tmp_path):
    for stage in ("data", "train"):
        shutil.copytree(alone / stage, tmp_path / stage)
    both = processes(2, tmp_path)
    until(lambda: list((tmp_path / "cams").rglob("records-p00-*.array_record")), both[1])
    both[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    status, _, err = finished(both[0])
    assert status != 0
    assert time.monotonic() - killed < HEARTBEAT_S + 60
    assert "process" in err
    assert not json.loads((pathlib.Path(tmp_path) / "cams" / "manifest.json").read_text())["done"]


@pytest.mark.slow
def test_nothing_is_exported_if_one_process_cannot(alone, tmp_path):
    shutil.copytree(
        alone, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("export", "report")
    )
    folder = tmp_path / "labels" / "train"
    made = sorted(records(folder).values(), key=lambda record: record["index"])
    shutil.rmtree(folder)
    with RecordWriter(folder) as writer:
        for record in made:
            writer.write(record | {"mask": b"" if record is made[-1] else record["mask"]})
    both = processes(2, tmp_path, "--stages=export")
    status, _, err = finished(both[1])
    ended = time.monotonic()
    assert status == 2
    assert f"mask {made[-1]['file_name']} cannot be decoded" in err
    assert finished(both[0])[0] != 0
    assert time.monotonic() - ended < HEARTBEAT_S + 60
    assert not (tmp_path / "export" / "dataset_info.json").exists()
    assert not json.loads((tmp_path / "export" / "manifest.json").read_text())["done"]
    shutil.rmtree(folder)
    shutil.copytree(alone / "labels" / "train", folder)
    run(1, tmp_path, "--stages=export")
    assert exported(tmp_path)[0] == exported(alone)[0]
    assert not list((tmp_path / "export").glob("*.incomplete"))
