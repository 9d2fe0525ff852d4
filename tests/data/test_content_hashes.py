"""A file is read again only when its size or its times changed."""

import hashlib
import json
import os
import time

import pytest

from hfpl_jax.data import content_hashes
from hfpl_jax.data.content_hashes import ABSENT, FILE_NAME, ContentHashes


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were read."""
    names, digest = [], hashlib.file_digest

    def noting(file, name):
        names.append(os.path.basename(file.name))
        return digest(file, name)

    monkeypatch.setattr(content_hashes.hashlib, "file_digest", noting)
    return names


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A file that did not change just now."""
    monkeypatch.setattr(content_hashes, "_TICK_S", -1.0)
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    return path


def test_a_kept_hash_saves_the_reading(tmp_path, old, read):
    first = ContentHashes(tmp_path / "kept")
    assert first.of(old) == first.of(old) == sha256(b"one")
    first.save()
    assert ContentHashes(tmp_path / "kept").of(old) == sha256(b"one")
    assert read == ["a.png"]
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [FILE_NAME]


def test_other_content_of_the_same_length_is_noticed(tmp_path, old, read):
    hashes = ContentHashes(tmp_path / "kept")
    hashes.of(old)
    old.write_bytes(b"two")
    assert hashes.of(old) == sha256(b"two")
    times = old.stat().st_mtime_ns
    other = tmp_path / "b.png"
    other.write_bytes(b"six")
    os.utime(other, ns=(times, times))
    os.replace(other, old)  # size and time of change as they were
    assert hashes.of(old) == sha256(b"six")


def test_what_changed_just_now_is_not_relied_on(tmp_path, read):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    hashes = ContentHashes(tmp_path)
    assert hashes.of(path) == hashes.of(path) == sha256(b"one")
    assert read == ["a.png"] * 2
    assert hashes.last_seen(path) == ABSENT


def test_what_is_no_file_has_no_content(tmp_path):
    hashes = ContentHashes(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert [hashes.of(tmp_path / name) for name in ("gone", "", "pipe")] == [ABSENT] * 3


def test_a_file_that_is_gone_is_what_it_was_when_last_seen(tmp_path, old):
    hashes = ContentHashes(tmp_path)
    hashes.of(old)
    hashes.note(tmp_path / "run", "0123")
    hashes.save()
    old.unlink()
    again = ContentHashes(tmp_path)
    assert again.of(old) == ABSENT
    assert again.last_seen(old) == sha256(b"one")
    assert again.last_seen(tmp_path / "run") == "0123"


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"a": 1}', '{"a": [1, 2, 3, 4]}'])
def test_damaged_hashes_are_none(tmp_path, old, content):
    (tmp_path / FILE_NAME).write_text(content)
    hashes = ContentHashes(tmp_path)
    assert hashes.of(old) == sha256(b"one")
    hashes.save()
    assert set(json.loads((tmp_path / FILE_NAME).read_text())) == {str(old)}


def test_a_folder_that_cannot_be_written_is_no_hindrance(tmp_path, old):
    (tmp_path / "file").write_text("")
    hashes = ContentHashes(tmp_path / "file")
    assert hashes.of(old) == sha256(b"one")
    hashes.save()


def test_a_tick_is_what_time_it_takes(tmp_path, read):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    past = time.time() - 10
    os.utime(path, (past, past))
    hashes = ContentHashes(tmp_path)
    assert hashes.of(path) == hashes.of(path)
    assert read == ["a.png"]
