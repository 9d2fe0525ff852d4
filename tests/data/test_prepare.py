import concurrent.futures
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from end_to_end import forbidden
from tiny_datasets import (
    box,
    config,
    jpeg,
    make_coco,
    make_folder,
    make_voc,
    square_mask,
    write,
    write_mask,
)

from hfpl_jax.data import builder, made_of, photographs
from hfpl_jax.data.coco_seg import CocoSeg
from hfpl_jax.data.dataset import Dataset, decode_mask
from hfpl_jax.data.features import instances_of
from hfpl_jax.data.folder import Folder
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError
from hfpl_jax.runtime import workdir_lock

NAMES = tuple(f"{i}.jpg" for i in range(9))
LABELS = "file_name,labels\n" + "".join(f"{name},cat;dog\n" for name in NAMES)


@pytest.fixture
def photos(tmp_path):
    return make_folder(tmp_path / "photos", LABELS, NAMES)


@pytest.fixture
def annotated(monkeypatch):
    """Names of the photographs that were decoded and annotated, rather than taken from
    elsewhere."""
    names, annotate = [], Folder._annotate

    def noting(self, record, height, width):
        names.append(record.file_name)
        return annotate(self, record, height, width)

    monkeypatch.setattr(Folder, "_annotate", noting)
    return names


def test_is_made_once_and_again_when_a_photograph_or_an_option_changes(tmp_path, photos, annotated):
    first = prepare(config("folder", photos), tmp_path / "out")
    assert sorted(annotated) == sorted(NAMES)
    again = prepare(config("folder", photos), tmp_path / "out")
    assert len(annotated) == 9
    assert again.fingerprint == first.fingerprint
    write(photos / "3.jpg", jpeg(99))
    changed = prepare(config("folder", photos), tmp_path / "out")
    assert len(annotated) == 18
    assert changed.fingerprint != first.fingerprint
    assert changed.split("train")[3].image == jpeg(99)
    prepare(config("folder", photos, on_bad_record="skip"), tmp_path / "out")
    assert len(annotated) == 27


def test_a_copy_is_the_same_dataset_but_a_changed_label_makes_another(tmp_path, photos, annotated):
    first = prepare(config("folder", photos), tmp_path / "out")
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy, copy_function=shutil.copyfile)  # with times of its own
    assert prepare(config("folder", copy), tmp_path / "out").fingerprint == first.fingerprint
    assert len(annotated) == 9
    text = (copy / "labels.csv").read_text()
    write(copy / "labels.csv", text.replace("cat", "cow", 1).encode())  # as many bytes
    assert prepare(config("folder", copy), tmp_path / "out").fingerprint != first.fingerprint
    assert len(annotated) == 18


def test_a_mask_mended_in_place_changes_the_masks_alone(tmp_path, photos):
    """From 0 and 255 to 0 and 1, in a file of the same length."""
    mask, names = square_mask(255), {"labels": "labels.csv", "masks": "masks"}
    write_mask(photos / "masks" / "3.png", mask, palette=False)
    data = config("folder", photos, options=names, mask_mismatches=1.0)
    drawn = prepare(data, tmp_path / "out")
    before = (photos / "masks" / "3.png").read_bytes()
    write_mask(photos / "masks" / "3.png", np.minimum(mask, 1), palette=False)
    assert (photos / "masks" / "3.png").stat().st_size == len(before)
    mended = prepare(data, tmp_path / "out")
    assert mended.fingerprint != drawn.fingerprint
    assert np.unique(decode_mask(mended.split("train")[3].segmentation_mask, "")).tolist() == [0, 1]
    assert mended.digest(["train"]) == drawn.digest(["train"])
    assert mended.digest([], ["train"]) != drawn.digest([], ["train"])
    write(photos / "masks" / "3.png", before)
    again = prepare(data, tmp_path / "out")
    assert again.digest(["train"], ["train"]) == drawn.digest(["train"], ["train"])


def test_a_photograph_or_a_label_that_changes_is_another_training(tmp_path, photos):
    def digests():
        made = prepare(config("folder", photos), tmp_path / "out")
        return made.digest(["train"]), made.digest([], ["train"])

    first = digests()
    image = photos / "3.jpg"
    image.write_bytes(image.read_bytes() + b"\0")  # as many pixels, one more byte
    longer = digests()
    assert longer[0] != first[0]
    assert longer[1] == first[1]
    image.write_bytes(image.read_bytes()[:-1] + b"\1")  # as many bytes
    assert digests()[0] not in (first[0], longer[0])
    image.write_bytes(image.read_bytes()[:-1])
    assert digests() == first
    write(photos / "labels.csv", LABELS.replace("8.jpg,cat;dog", "8.jpg,dog"))
    assert digests()[0] != first[0]


def test_a_kill_before_the_last_word_leaves_no_whole_dataset(tmp_path, photos, annotated):
    first = prepare(config("folder", photos), tmp_path / "out")
    (first.directory / made_of.FILE_NAME).unlink()
    again = prepare(config("folder", photos), tmp_path / "out")
    assert len(annotated) == 18
    assert again.fingerprint == first.fingerprint
    assert again.digest(["train"], ["train"]) == first.digest(["train"], ["train"])


def test_two_runs_do_not_prepare_the_same_data_at_once(tmp_path, photos):
    lock, other = tmp_path / "out" / workdir_lock.LOCK, os.getppid()
    with workdir_lock.held(lock.parent):
        mark = json.loads(lock.read_text())
    lock.write_text(json.dumps(mark | {"pid": other, "started": workdir_lock._start_of(other)}))
    with pytest.raises(InputError, match=f"out is in use by process {other}"):
        prepare(config("folder", photos), tmp_path / "out")
    lock.unlink()
    prepare(config("folder", photos), tmp_path / "out")
    with workdir_lock.held(lock.parent):
        prepare(config("folder", photos), tmp_path / "out")  # made already: only read


def test_what_another_run_prepared_meanwhile_is_not_prepared_again(
    tmp_path, photos, annotated, monkeypatch
):
    """It has the lock between the look at what is there and the wish to prepare."""
    held, found = workdir_lock.held, []

    def late(*arguments, **options):
        monkeypatch.setattr(workdir_lock, "held", held)
        dataset = prepare(config("folder", photos), tmp_path / "out")
        found.append((dataset.directory / made_of.FILE_NAME).stat().st_mtime_ns)
        return held(*arguments, **options)

    monkeypatch.setattr(workdir_lock, "held", late)
    dataset = prepare(config("folder", photos), tmp_path / "out")
    assert sorted(annotated) == sorted(NAMES)
    assert [(dataset.directory / made_of.FILE_NAME).stat().st_mtime_ns] == found


def test_an_interrupted_preparation_is_not_whole_and_continues(tmp_path, photos, annotated):
    whole = (photos / "8.jpg").read_bytes()
    write(photos / "8.jpg", whole[:300])
    with pytest.raises(InputError, match=r"8\.jpg"):
        prepare(config("folder", photos), tmp_path / "out")
    assert not (tmp_path / "out/folder/1.0.0").exists()
    assert sorted(annotated) == sorted(NAMES[:8])
    annotated.clear()
    write(photos / "8.jpg", whole)
    dataset = prepare(config("folder", photos), tmp_path / "out")
    assert annotated == ["8.jpg"]
    assert [example.file_name for example in dataset.split("train")] == list(NAMES)
    assert [example.labels.tolist() for example in dataset.split("train")] == [[0, 1]] * 9
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["folder"]


def test_a_killed_preparation_leaves_nothing_that_is_read(tmp_path, photos):
    script = """
import os, signal, sys
from hfpl_jax.data import folder, prepare
annotate = folder.Folder._annotate
def kill(self, record, height, width):
    if record.file_name == "8.jpg":
        os.kill(os.getpid(), signal.SIGKILL)
    return annotate(self, record, height, width)
folder.Folder._annotate = kill
prepare.prepare({"name": "folder", "root": sys.argv[1]}, sys.argv[2])
"""
    killed = subprocess.run(
        [sys.executable, "-c", script, photos, tmp_path / "out"], capture_output=True
    )
    assert killed.returncode == -9
    [part] = (tmp_path / "out/folder").iterdir()
    assert not (part / made_of.FILE_NAME).exists()
    assert len(prepare(config("folder", photos), tmp_path / "out").split("train")) == 9
    assert [path.name for path in (tmp_path / "out/folder").iterdir()] == ["1.0.0"]


KILLED_EVERYWHERE = """
import os, sys
from hfpl_jax.data import made_of, prepare

def attempt(kill, **options):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    calls = []
    def until(call):
        def killing(path, *arguments, **more):
            inside = os.fspath(path).startswith(sys.argv[2] + "/folder/1.0.0")
            calls.extend([call] * inside)
            if kill is not None and len(calls) > kill:
                os._exit(9)
            return call(path, *arguments, **more)
        return killing
    for name in ("mkdir", "rename", "replace", "rmdir", "unlink"):
        setattr(os, name, until(getattr(os, name)))
    prepare.prepare({"name": "folder", "root": sys.argv[1], **options}, sys.argv[2])
    os._exit(0)

assert attempt(None, on_bad_record="skip") == 0
status, kill = 9, 0
while status == 9:
    status, kill = attempt(kill), kill + 1
    print(status, made_of.read_made_of(sys.argv[2] + "/folder/1.0.0")["source"])
"""


def test_a_preparation_killed_at_every_step_is_whole_or_absent(tmp_path, photos):
    """In place of a dataset that is there; each goes on with what the one before left."""
    before = prepare(config("folder", photos, on_bad_record="skip"), tmp_path / "before")
    whole = prepare(config("folder", photos), tmp_path / "whole")
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_EVERYWHERE, photos, out],
        env=os.environ | {"PYTHONPATH": forbidden()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, *killed, last = (line.split(" ") for line in done.stdout.splitlines())
    assert first == ["9", before.fingerprint]
    assert len(killed) > 10
    assert killed[-1] == ["9", ""]
    assert {tuple(each) for each in killed} == {("9", "")}
    assert last == ["0", whole.fingerprint]
    made = prepare(config("folder", photos), out)
    assert made.digest(["train"], ["train"]) == whole.digest(["train"], ["train"])
    files = [sorted(path.name for path in each.directory.iterdir()) for each in (made, whole)]
    assert files[0] == files[1]
    assert not (out / "folder.unfinished").exists()


def test_instances_survive_an_interruption(tmp_path):
    """Those of a photograph that was noted before, as of one that was not."""
    item = {"category_id": 1, "segmentation": box(0, 0, 9, 9)}
    make_coco(tmp_path / "coco", "train", {1: [item, item], 2: [item]})
    whole = (tmp_path / "coco/train2017/000000000002.jpg").read_bytes()
    write(tmp_path / "coco/train2017/000000000002.jpg", whole[:300])
    data = config("coco_seg", tmp_path / "coco")
    with pytest.raises(InputError, match=r"2\.jpg"):
        prepare(data, tmp_path / "out")
    assert list((tmp_path / "out/coco_seg.unfinished/checked/train").iterdir())
    write(tmp_path / "coco/train2017/000000000002.jpg", whole)
    first, second = prepare(data, tmp_path / "out").split("train")
    assert first.instances == (*second.instances, *second.instances)


def test_a_dataset_of_an_earlier_version_is_made_again(tmp_path, photos, annotated, monkeypatch):
    with monkeypatch.context() as patch:
        for module in (builder, photographs):
            patch.setattr(module, "EXAMPLES", builder.EXAMPLES - 1)
        before = prepare(config("folder", photos), tmp_path / "out")
    after = prepare(config("folder", photos), tmp_path / "out")
    assert sorted(annotated) == sorted(NAMES * 2)
    assert after.fingerprint != before.fingerprint
    assert after.digest(["train"], ["train"]) == before.digest(["train"], ["train"])


def test_a_record_of_an_earlier_version_says_nothing_of_instances():
    assert instances_of({"height": 2, "width": 3, "labels": [0], "has_mask": True}) is None


def test_photographs_of_a_folder_have_no_true_instances(tmp_path, photos):
    write_mask(photos / "masks" / "3.png", square_mask(1), palette=False)
    names = {"labels": "labels.csv", "masks": "masks"}
    dataset = prepare(config("folder", photos, options=names), tmp_path / "out")
    assert [example.instances for example in dataset.split("train")] == [None] * 9


def test_an_option_of_the_journal_is_not_mixed_with_another(tmp_path, photos, annotated):
    """Masks painted under one rule must not come back under another."""
    write(photos / "8.jpg", b"no image")
    write_mask(photos / "0.png", square_mask(1))
    for masks in ("", "."):
        with pytest.raises(InputError, match=r"8\.jpg"):
            prepare(config("folder", photos, options={"masks": masks}), tmp_path / "out")
    assert sorted(annotated) == sorted(NAMES[:8] * 2)


def test_needs_neither_network_nor_tensorflow(tmp_path, photos):
    script = """
import socket, sys

def refuse(*_):
    raise AssertionError("the network was tried")

socket.socket.connect = socket.getaddrinfo = refuse
from hfpl_jax.data.prepare import prepare
dataset = prepare({"name": "folder", "root": sys.argv[1]}, sys.argv[2])
print(dataset.split("train")[8].file_name, "tensorflow" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, photos, tmp_path / "out"], capture_output=True, text=True
    )
    assert done.stdout == "8.jpg False\n", (
        done.stderr
    )  # and nothing else: TFDS's own notices are silenced


def test_is_a_directory_that_tfds_loads(tmp_path, photos):
    info = tfds.builder_from_directory(
        prepare(config("folder", photos), tmp_path / "out").directory
    ).info
    assert info.splits["train"].num_examples == 9
    assert info.features["labels"].feature.names == ["cat", "dog"]


def test_split_is_a_sequence_that_travels_to_a_worker_process(tmp_path, photos):
    split = prepare(config("folder", photos), tmp_path / "out").split("train")
    assert split[-1].file_name == "8.jpg"
    with pytest.raises(IndexError):
        split[9]
    assert len(pickle.dumps(split)) < 1000  # a place to read from, not an open file
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(split.__getitem__, 4).result().image == (photos / "4.jpg").read_bytes()


def test_without_a_root_the_official_archives_are_fetched(tmp_path, monkeypatch):
    archive = tmp_path / "archive"
    make_voc(archive / "voc/VOCdevkit/VOC2012", {"train": {"1": ("cat",)}, "val": {"2": ("dog",)}})
    for number, split in enumerate(("train", "val")):
        item = {"category_id": 1, "segmentation": box(0, 0, 9, 9)}
        make_coco(archive / "coco", split, {number: [item]})
    asked = []

    def unpacked(self, addresses):
        asked.append(addresses)
        return (
            archive / "voc"
            if isinstance(addresses, str)
            else dict.fromkeys(addresses, archive / "coco")
        )

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", unpacked)
    for name in ("voc_seg", "coco_seg"):
        dataset = prepare(
            {"name": name, "root": "", "train_split": "train", "val_split": "val"}, tmp_path / "out"
        )
        assert [len(dataset.split(split)) for split in ("train", "val")] == [1, 1]
    prepare({"name": "coco_seg"}, tmp_path / "out")
    assert len(asked) == 2
    assert CocoSeg.url_infos.keys() >= {
        asked[0],
        *asked[1].values(),
        *CocoSeg(year="2014", data_dir=tmp_path).addresses().values(),
    }


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    def fails(self, addresses):
        raise ConnectionError("no route")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fails)
    with pytest.raises(
        InputError, match=r"Cannot download .*VOCtrainval.*no route.*set config\.data\.root"
    ):
        prepare({"name": "voc_seg", "root": ""}, tmp_path / "out")


def test_asks_for_a_split_that_exists(tmp_path, photos):
    with pytest.raises(InputError, match=r"folder in .* has no split 'val'; it has train"):
        prepare(config("folder", photos, val_split="val"), tmp_path / "out")
    dataset = prepare(config("folder", photos, train_split="train"), tmp_path / "out")
    with pytest.raises(InputError, match="has no split 'trainaug'; it has train"):
        dataset.split("trainaug")
    with pytest.raises(InputError, match=r"no split 'tran' \(did you mean 'train'"):
        prepare(config("folder", photos, train_split="tran"), tmp_path / "out")
    voc = make_voc(tmp_path / "voc", {"train": {"1": ("cat",)}})
    for field, instead in (("train_split", "train"), ("val_split", "''")):
        with pytest.raises(
            InputError,
            match=rf"no split 'trainaug'.*Set --config\.data\.{field}={instead}, or add the split",
        ):
            prepare(config("voc_seg", voc, **{field: "trainaug"}), tmp_path / "out")


def test_unknown_names_are_met_with_the_nearest(tmp_path, photos):
    with pytest.raises(
        InputError, match=r"config\.data\.name is 'voc_sge' \(did you mean 'voc_seg'\?\)"
    ):
        prepare(config("voc_sge", photos), tmp_path)
    with pytest.raises(
        InputError,
        match=r"options\.mask is no option of folder \(did you mean 'masks'\?\); "
        "it has labels, masks",
    ):
        prepare(config("folder", photos, options={"mask": "x"}), tmp_path)
    with pytest.raises(InputError, match="on_bad_record is 'ignore'"):
        prepare(config("folder", photos, on_bad_record="ignore"), tmp_path)


def test_dataset_opens_a_directory_that_is_already_there(tmp_path, photos):
    made = prepare(config("folder", photos), tmp_path / "out")
    opened = Dataset(made.directory)
    assert (opened.name, opened.class_names, opened.splits, opened.fingerprint) == (
        "folder",
        ("cat", "dog"),
        ("train",),
        made.fingerprint,
    )
