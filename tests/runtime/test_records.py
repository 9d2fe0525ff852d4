import os
import pickle

import grain
import ml_dtypes
import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.runtime import records
from hfpl_jax.runtime.records import RecordReader, RecordWriter, finished_records, resume
from hfpl_jax.runtime.termination import Stopped


def _write(directory, names, **options):
    with RecordWriter(directory, **options) as writer:
        for name in names:
            writer.write({"file_name": name})


def test_every_kind_of_value_comes_back_as_it_went(tmp_path):
    fortran = np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3))
    record = {
        "file_name": "später.jpg",
        "height": 3,
        "score": 0.1,
        "image": b"\x00\xff",
        "labels": [0, 19],
        "none": [],
        "cams": np.linspace(0, 1, 12, dtype=np.float16).reshape(2, 2, 3),
        "fortran": fortran,
        "empty": np.zeros((0, 4), np.uint8),
        "scalar": np.array(2.5, np.float32),
        "wide": np.arange(4, dtype=ml_dtypes.bfloat16),
    }
    with RecordWriter(tmp_path) as writer:
        writer.write(record)
    (back,) = RecordReader(tmp_path)
    assert back.keys() == record.keys()
    for name, value in record.items():
        assert type(back[name]) is type(value), name
        if isinstance(value, np.ndarray):
            assert back[name].dtype == value.dtype, name
            np.testing.assert_array_equal(back[name], value)
        else:
            assert back[name] == value, name


def test_random_access_over_shards(tmp_path):
    names = [f"{i}.jpg" for i in range(7)]
    _write(tmp_path, names, shard_size=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"records-p00-0000{i}.array_record" for i in range(3)
    ]
    reader = RecordReader(tmp_path)
    assert len(reader) == 7
    assert [reader[i]["file_name"] for i in (6, 0, 3, 2, -1, -7)] == [
        "6.jpg",
        "0.jpg",
        "3.jpg",
        "2.jpg",
        "6.jpg",
        "0.jpg",
    ]
    assert [record["file_name"] for record in reader] == names
    for index in (7, -8):
        with pytest.raises(IndexError):
            reader[index]


def test_more_shards_than_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_OPEN_SHARDS", 2)
    _write(tmp_path, "abcdef", shard_size=1)
    reader = RecordReader(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    assert [reader[i]["file_name"] for i in (5, 0, 4, 1, 3, 2)] == list("faebdc")
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_pickled_reader_reads(tmp_path):
    _write(tmp_path, "abc", shard_size=2)
    reader = RecordReader(tmp_path)
    assert reader[0]["file_name"] == "a"
    assert [record["file_name"] for record in pickle.loads(pickle.dumps(reader))] == list("abc")
    assert [record["file_name"] for record in grain.MapDataset.source(reader)] == list("abc")


def test_exception_leaves_whole_shards_only_and_the_stage_resumes_after_them(tmp_path):
    def interrupted():
        with RecordWriter(tmp_path, shard_size=2) as writer:
            for name in "abcde":
                writer.write({"file_name": name})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert finished_records(tmp_path) == (list("abcd"), 2)
    assert len(list(tmp_path.iterdir())) == 2
    _, first_shard = finished_records(tmp_path)
    _write(tmp_path, "efg", shard_size=2, first_shard=first_shard)
    assert [record["file_name"] for record in RecordReader(tmp_path)] == list("abcdefg")


def test_what_a_stopped_stage_has_done_is_kept(tmp_path):
    def stopped():
        with RecordWriter(tmp_path, shard_size=4) as writer:
            for name in "abcde":
                writer.write({"file_name": name})
            raise Stopped

    with pytest.raises(Stopped):
        stopped()
    assert finished_records(tmp_path) == (list("abcde"), 2)


def test_several_records_of_a_name_stay_together(tmp_path):
    def parts(name):
        return [{"file_name": name, "part": part} for part in range(3)]

    def ended_by(error, names, expected):
        done, writer = resume(tmp_path, shard_size=2, process_index=0, parts=3)
        assert done == expected
        with writer:
            for name in names:
                writer.write(*parts(name))
            raise error

    with pytest.raises(RuntimeError, match="killed"):
        ended_by(RuntimeError("killed"), "abc", set())
    assert finished_records(tmp_path, parts=3) == (["a", "b"], 1)
    with pytest.raises(Stopped):
        ended_by(Stopped(), "c", {"a", "b"})
    found = [(each["file_name"], each["part"]) for each in RecordReader(tmp_path)]
    assert found == [(name, part) for name in "abc" for part in range(3)]


def test_leftover_of_a_kill_is_neither_read_nor_kept(tmp_path):
    _write(tmp_path, "ab", shard_size=2)
    leftover = tmp_path / "records-p00-00007.array_record.incomplete"
    others = tmp_path / "records-p01-00000.array_record.incomplete"
    leftover.write_bytes(b"half")
    others.write_bytes(b"half")
    assert finished_records(tmp_path) == (["a", "b"], 1)
    _write(tmp_path, "c", first_shard=1)
    assert not leftover.exists()
    assert others.exists()  # another process may be writing it at this moment
    assert len(RecordReader(tmp_path)) == 3


def test_processes_share_a_folder(tmp_path):
    _write(tmp_path, "bd", shard_size=1, process_index=1)
    _write(tmp_path, "a", process_index=0)
    assert [record["file_name"] for record in RecordReader(tmp_path)] == list("abd")
    assert finished_records(tmp_path, process_index=1) == (list("abd"), 2)
    assert finished_records(tmp_path, process_index=2) == (list("abd"), 0)


def test_nothing_written_yet(tmp_path):
    assert finished_records(tmp_path / "absent") == ([], 0)
    with pytest.raises(InputError, match=r"no records in .*absent"):
        RecordReader(tmp_path / "absent")


@pytest.mark.parametrize("damage", ["truncated", "not a shard", "flipped"])
def test_damaged_shard_is_named(tmp_path, damage):
    with RecordWriter(tmp_path, shard_size=4) as writer:
        for i in range(8):
            writer.write({"file_name": str(i), "noise": np.random.default_rng(i).bytes(30000)})
    path = tmp_path / "records-p00-00001.array_record"
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "not a shard":
        path.write_bytes(b"hello")
    else:
        path.write_bytes(
            data[:70000] + bytes(255 - byte for byte in data[70000:70100]) + data[70100:]
        )
    with pytest.raises(InputError, match=r"records-p00-00001\.array_record is damaged.*Delete it"):
        finished_records(tmp_path)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"Cannot write .*file/cams: Not a directory"):
        _write(tmp_path / "file" / "cams", "a")


def test_full_disk_is_named(tmp_path, monkeypatch):
    class FullDisk(records.ArrayRecordWriter):
        def write(self, data):
            raise RuntimeError("write() failed: No space left on device")

    monkeypatch.setattr(records, "ArrayRecordWriter", FullDisk)
    with pytest.raises(InputError, match="No space left"):
        _write(tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


def test_object_arrays_are_refused(tmp_path):
    with RecordWriter(tmp_path) as writer, pytest.raises(ValueError, match="Object"):
        writer.write({"bad": np.array([{}], dtype=object)})
