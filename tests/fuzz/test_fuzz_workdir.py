"""What a workdir holds: record shards, prepared datasets, manifests and metrics are
read whole, or named as damaged with the cure.
"""

import json
import os
import sys
import zlib

import msgpack
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from flax import serialization
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import (
    HARMLESS_NAMES,
    HOSTILE_NAMES,
    contained,
    damaged,
    everything_in,
    fuzz,
    outcome,
    replaced,
)
from tiny_datasets import config, make_folder

from hfpl_jax.data.dataset import Dataset, Example
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError
from hfpl_jax.export import FORMATS, PseudoLabel, export
from hfpl_jax.inference.cam_record import CamRecord, decode_maps, encode_maps
from hfpl_jax.instance import Instance, decode_rle, encode_rle
from hfpl_jax.runtime.manifest import read_manifest
from hfpl_jax.runtime.records import RecordReader, RecordWriter, finished_records
from hfpl_jax.stages.metrics import read_metrics, read_sweep
from hfpl_jax.stages.score_instances import found_instances
from hfpl_jax.training.metric_log import read_rows

CAMS = CamRecord(
    0,
    "a.jpg",
    np.array([1]),
    np.array([1, 3]),
    np.random.default_rng(0).random((20, 30, 2)).astype(np.float32),
    np.linspace(0, 1, 5, dtype=np.float32),
)
RECORD = {**CAMS.encode(), "array": np.arange(5.0), "scalar": np.float32(3)}


def read_all(folder):
    finished_records(folder)
    return [CamRecord.decode(record) for record in RecordReader(folder)]


def shard_of(payload, folder):
    folder.mkdir(exist_ok=True)
    path = folder / "records-p00-00000.array_record"
    writer = ArrayRecordWriter(os.fspath(path), "group_size:1")
    writer.write(payload)
    writer.close()
    return path


def test_damaged_shards(tmp_path):
    with RecordWriter(tmp_path / "records") as writer:
        for _ in range(3):
            writer.write(RECORD)
    [path] = (tmp_path / "records").iterdir()

    @fuzz(80)
    @given(damaged(path.read_bytes()[:70_000], front=300))
    def run(data):
        path.write_bytes(data)
        result = outcome(path, read_all, path.parent)
        assert isinstance(result, str) or len(result) == 3

    run()


@fuzz(120)
@given(damaged(serialization.msgpack_serialize(RECORD), front=120))
def test_damaged_records_in_whole_shards(tmp_path, payload):
    """What a foreign program, or a faulty memory, puts under right checksums."""
    shard_of(payload, tmp_path / "records")
    outcome("record", read_all, tmp_path / "records")


FOUND = Instance(1, encode_rle(np.eye(20, 30, dtype=bool)), score=0.5, peak=(3, 4))
PHOTOGRAPH = Example("a.jpg", b"", np.array([1]), None, 20, 30)


@fuzz(150)
@given(
    replaced(
        {"file_name": "a.jpg", "instances": [FOUND.encode(), FOUND.encode()]},
        values=(None, -1, 2**70, 0.5, "", b"", "../x", [], {}, [[]], [None], [2**60, 1], "o" * 99),
    )
)
def test_records_of_damaged_instances(record):
    result = outcome("a.jpg", found_instances, record, PHOTOGRAPH, 2)
    for one in () if isinstance(result, str) else result:
        assert decode_rle(one.segmentation)[one.peak] in (True, False)
        assert one.label in (0, 1)


@fuzz(60)
@example({**CAMS.encode(), "file_name": b""})
@given(
    replaced(
        dict(CAMS.encode()),
        values=(
            None,
            -1,
            2**40,
            0.5,
            "",
            b"",
            "../../x",
            [],
            {},
            [[]],
            [None],
            [2**60],
            b"\x89PNG\r\n",
        ),
    )
)
def test_records_of_other_fields(tmp_path, record):
    shard_of(serialization.msgpack_serialize(record), tmp_path / "records")
    result = outcome("record", read_all, tmp_path / "records")
    assert isinstance(result, str) or (type(result[0].index), type(result[0].file_name)) == (
        int,
        str,
    )


def array(shape, dtype, data, code=1):
    return msgpack.packb({"file_name": msgpack.ExtType(code, msgpack.packb((shape, dtype, data)))})


HOSTILE_RECORDS = {
    "nothing": b"",
    "a number": msgpack.packb(3),
    "a list": msgpack.packb([{}]),
    "no fields": msgpack.packb({}),
    "a list of 2^32": b"\xdd\xff\xff\xff\xff",
    "a map of 2^32": b"\xdf\xff\xff\xff\xff",
    "4 GB of bytes": b"\xc6\xff\xff\xff\xff",
    "lists in lists": b"\xdd\0\0\x0f\xff" * 4000,
    "pointers": array([1], b"O", b"12345678"),
    "pointers in a structure": array([1], b"O,i4", b"123456789012"),
    "2^40 elements": array([2**40], b"f4", b"12345678"),
    "no elements of 2^62 rows": array([0, 2**62, 2**62], b"f4", b""),
    "an unknown type": array([1], b"nonsense", b"12345678"),
    "a type that is an expression": array([1], b"__import__('os')", b"12345678"),
    "a number for an array": msgpack.packb({"file_name": msgpack.ExtType(1, msgpack.packb(3))}),
    "a number for a complex one": msgpack.packb(
        {"file_name": msgpack.ExtType(2, msgpack.packb(3))}
    ),
    "chunks without a shape": msgpack.packb({"file_name": {"__msgpack_chunked_array__": True}}),
    "chunks of 2^40": msgpack.packb(
        {"file_name": {"__msgpack_chunked_array__": True, "shape": {"0": 2**40}, "chunks": {}}}
    ),
    "text that is not UTF-8": b"\x81\xa9file_name\xa2\xff\xfe",
}


@pytest.mark.parametrize("case", HOSTILE_RECORDS)
def test_hostile_records(tmp_path, case):
    path = shard_of(HOSTILE_RECORDS[case], tmp_path / "records")
    message = outcome(path, read_all, path.parent)
    assert "is damaged" in message


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((100_000, 100_000, 1), (100_000, 100_000)),
        ((20, 30, 2), (31, 40)),
        ((20, 30, 100_000), (30, 2_000_000)),
    ],
    ids=str,
)
def test_maps_that_claim_to_be_huge(shape, size):
    data = bytearray(encode_maps(np.zeros((20, 30, 2), np.float32)))
    data[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert "The maps of a record cannot be decoded" in outcome(
        "record", decode_maps, bytes(data), shape
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A prepared dataset, its source and its place."""
    root = tmp_path_factory.mktemp("dataset")
    source = make_folder(
        root / "source",
        "# classes: cat, dog\nfile_name,labels\n1.jpg,cat\n2.jpg,cat;dog\n",
        ("1.jpg", "2.jpg"),
    )
    return source, root / "out", prepare(config("folder", source), root / "out").directory


def read_dataset(directory):
    dataset = Dataset(directory)
    splits = [dataset.split(name) for name in dataset.splits]
    entries = [entry for split in splits for entry in split.entries()]
    return [example for split in splits for example in split], entries, dataset.skipped()


DATASET_FILES = (
    "dataset_info.json",
    "features.json",
    "labels.labels.txt",
    "made_of.json",
    "index.train.json",
    "folder-train.array_record-00000-of-00001",
)


@pytest.fixture(params=DATASET_FILES)
def file_of_dataset(request, dataset, monkeypatch):
    monkeypatch.setitem(
        sys.modules, "tensorflow", None
    )  # where it is, TFDS asks it about a type it does not know: half a gigabyte
    path = dataset[2] / request.param
    whole = path.read_bytes()
    yield path
    path.write_bytes(whole)
    assert len(read_dataset(dataset[2])[0]) == 2


def test_damaged_datasets(dataset, file_of_dataset):
    source, output, directory = dataset
    whole = file_of_dataset.read_bytes()
    trees = (
        replaced(json.loads(whole)).map(json.dumps).map(str.encode)
        if file_of_dataset.suffix == ".json"
        else st.nothing()
    )

    @fuzz(60)
    @given(trees | damaged(whole[:70_000], front=len(whole) if len(whole) < 5000 else 300))
    def run(data):
        file_of_dataset.write_bytes(data)
        outcome(directory, read_dataset, directory)

    run()
    file_of_dataset.write_bytes(b"\xff\xfe")
    if file_of_dataset.name != "made_of.json":  # of another source: prepared anew
        assert "cannot be read" in outcome(
            output, lambda: read_dataset(prepare(config("folder", source), output).directory)
        )


@pytest.mark.parametrize("key", ["pythonClassName", "type"])
def test_features_of_other_packages_are_not_imported(dataset, tmp_path, monkeypatch, key):
    """TFDS imports whatever module a features.json names."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "foreign_features.py").write_text("raise SystemExit('imported')")
    path = dataset[2] / "features.json"
    whole = path.read_text()
    features = json.loads(whole)
    features["featuresDict"]["features"]["image"] = {key: "foreign_features.Image", "content": {}}
    path.write_text(json.dumps(features))
    try:
        assert "'foreign_features.Image', which is none of TFDS's own" in outcome(
            dataset[2], read_dataset, dataset[2]
        )
        assert "foreign_features" not in sys.modules
    finally:
        path.write_text(whole)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_list_of_what_was_skipped(dataset, content):
    path = dataset[2] / "skipped.jsonl"
    path.write_bytes(content)
    try:
        result = outcome(path, Dataset(dataset[2]).skipped)
    finally:
        path.unlink()
    assert result == [] if not content else "cannot be read" in result


def test_a_dataset_in_a_format_that_is_not_read_back(tmp_path):
    labels = [
        PseudoLabel(file_name="a.jpg", image=None, labels=(0,), mask=np.ones((2, 2), np.uint8))
    ]
    export(labels, tmp_path, format="tfrecord", class_names=["cat"], split="train")
    [shard] = tmp_path.glob("*.tfrecord*")
    for content in (shard.read_bytes(), shard.read_bytes()[:9], b"\xff" * 100):
        shard.write_bytes(content)
        assert "cannot be read" in outcome(tmp_path, read_dataset, tmp_path)


MANIFEST = {
    "stage": "cams",
    "fingerprint": "0123456789abcdef",
    "parents": {"data": "0"},
    "done": True,
    "config": {"seed": 0},
}
METRICS = {
    "threshold": 0.25,
    "train/cam/miou": 0.5,
    "threshold_rule": "given",
    "image_labels": "given image labels",
}
SWEEP = {"thresholds": [0.0, 0.5], "miou": {"train": [0.1, 0.2], "val": [0.2, 0.1]}}
READERS = {
    "manifest.json": (MANIFEST, read_manifest),
    "metrics.json": (METRICS, read_metrics),
    "sweep.json": (SWEEP, read_sweep),
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_json_of_stages(tmp_path, name):
    whole, reader = READERS[name]

    @fuzz(80)
    @given(replaced(whole).map(json.dumps).map(str.encode) | damaged(json.dumps(whole).encode()))
    def run(data):
        (tmp_path / name).write_bytes(data)
        result = outcome(tmp_path / name, reader, tmp_path)
        if isinstance(result, str):
            assert "is not readable" in result
        elif name == "metrics.json":
            assert 0 <= result["threshold"] < 1
        elif name == "manifest.json":
            assert result["fingerprint"].isalnum()
            assert result["done"] in (True, False)

    run()


HOSTILE_JSON = [
    b"",
    b"null",
    b"[" * 100_000,
    b'{"a": "\xff"}',
    b'{"a": ' + b"9" * 10_000 + b"}",
    b"\xef\xbb\xbf{}",
    b"\x80\x04N.",
]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", HOSTILE_JSON, ids=range(len(HOSTILE_JSON)))
def test_hostile_json_of_stages(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "is not readable" in outcome(tmp_path / name, READERS[name][1], tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_a_folder_in_the_place_of_a_file(tmp_path, name):
    (tmp_path / name).mkdir()
    assert "is not readable" in outcome(tmp_path / name, READERS[name][1], tmp_path)


@pytest.mark.parametrize("fingerprint", ["../../x", "/etc", "", ".", "a\0", "0\n", 5, None])
def test_a_fingerprint_that_leads_out_of_the_workdir(tmp_path, fingerprint):
    """The folder of a training is named after it."""
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST | {"fingerprint": fingerprint}))
    with pytest.raises(InputError, match="is not readable"):
        read_manifest(tmp_path)


@fuzz(40)
@given(damaged(b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'))
def test_damaged_metric_logs(tmp_path, data):
    (tmp_path / "metrics.jsonl").write_bytes(data)
    with contained():
        assert all(isinstance(row["step"], int) for row in read_rows(tmp_path))


@pytest.mark.parametrize(
    "name", [*HOSTILE_NAMES, *HARMLESS_NAMES], ids=lambda name: ascii(name)[:20]
)
@pytest.mark.parametrize("format", FORMATS)
def test_exports_write_only_into_their_folder(tmp_path, format, name):
    folder = tmp_path / "a" / "b" / "export"
    mask = np.ones((2, 2), np.uint8)
    labels = [
        PseudoLabel(file_name=one, image=None, labels=(0,), mask=mask, confidence=mask)
        for one in ("1.jpg", name)
    ]
    options = {"format": format, "class_names": ["cat"], "split": "train"}
    result = outcome(ascii(name)[1:20] if name.isascii() else "", export, labels, folder, **options)
    if name in HOSTILE_NAMES:
        assert "does not name a file inside its image folder" in result
        assert everything_in(tmp_path) <= {"a", "a/b", "a/b/export"}
    else:
        assert everything_in(tmp_path) == {
            "a",
            "a/b",
            "a/b/export",
            *(f"a/b/export/{one}" for one in everything_in(folder)),
        }
