"""Where a result lies, and how a folder gets ready for another."""

import json
import shutil

import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.runtime import manifest
from hfpl_jax.runtime.manifest import make_room, read_manifest, result_folder, want

ANNOUNCED = {"fingerprint": "b", "done": False}


def test_the_wanted_training_is_found_below_its_stage(tmp_path):
    assert result_folder(tmp_path / "affinity") == tmp_path / "affinity"  # nothing there yet
    for fingerprint in ("0f", "1e", "0f"):
        want(tmp_path, "affinity", fingerprint)
        assert result_folder(tmp_path / "affinity") == tmp_path / "affinity" / fingerprint
        assert result_folder(tmp_path / "affinity" / "0f") == tmp_path / "affinity" / "0f"
    assert [path.name for path in (tmp_path / "affinity").iterdir()] == ["wanted.json"]


def test_the_manifest_is_that_of_the_wanted_training(tmp_path):
    for fingerprint in ("0f", "1e"):
        (tmp_path / "train" / fingerprint).mkdir(parents=True)
        make_room(tmp_path / "train" / fingerprint, {"fingerprint": fingerprint, "done": True})
        want(tmp_path, "train", fingerprint)
    assert read_manifest(tmp_path / "train")["fingerprint"] == "1e"
    want(tmp_path, "train", "0f")
    assert read_manifest(tmp_path / "train")["fingerprint"] == "0f"
    want(tmp_path, "train", "2d")
    assert read_manifest(tmp_path / "train") == {}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"fingerprint": "../x"}', '{"fingerprint": ""}', "[" * 100_000]
)
def test_a_damaged_name_of_the_wanted_training(tmp_path, content):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "wanted.json").write_text(content)
    with pytest.raises(
        InputError, match=r"train/wanted\.json is damaged.*Give the command of the run"
    ):
        result_folder(tmp_path / "train")
    want(tmp_path, "train", "0f")
    assert result_folder(tmp_path / "train").name == "0f"


@pytest.fixture
def full(tmp_path):
    folder = tmp_path / "cams"
    (folder / "val").mkdir(parents=True)
    for name in ("val/records", "metrics.json"):
        (folder / name).write_text("old")
    manifest.write_manifest(folder, {"fingerprint": "a", "done": True})
    return folder


def test_the_manifest_is_alone_when_another_result_begins(full):
    make_room(full, ANNOUNCED)
    assert [path.name for path in full.iterdir()] == ["manifest.json"]
    assert read_manifest(full) == ANNOUNCED


def test_a_kill_in_between_is_seen_and_mended(full, monkeypatch):
    seen = []

    def killed(path):
        seen.append(json.loads((full / "manifest.json").read_text()))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            make_room(full, ANNOUNCED)
    assert seen == [{**ANNOUNCED, "emptied": False}]  # no old records under a finished manifest
    make_room(full, ANNOUNCED)
    assert [path.name for path in full.iterdir()] == ["manifest.json"]
    assert read_manifest(full) == ANNOUNCED


def test_files_of_somebody_else_are_not_touched(full):
    (full / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"cams holds files, but no manifest\.json"):
        make_room(full, ANNOUNCED)
    assert (full / "val" / "records").read_text() == "old"
