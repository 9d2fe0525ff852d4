"""Files take their places one by one; what says that they are whole comes last."""

import os

import pytest

from hfpl_jax.export.staging import replace_folder


def _make(folder, names, content):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _content(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _stage(folder):
    _make(folder, NEW, "new")
    return folder


@pytest.fixture
def staged(tmp_path):
    return _stage(tmp_path / "staged")


NEW = {"all.json": "new", "a/b.png": "new", "z.png": "new"}


def test_the_new_files_stand_in_place_of_the_old_ones(tmp_path, staged, folders_stay):
    _make(tmp_path / "final", ["all.json", "a", "y/c.png"], "old")
    replace_folder(staged, tmp_path / "final", last="all.json")
    assert _content(tmp_path / "final") == NEW
    assert sorted(path.name for path in (tmp_path / "final").iterdir()) == [
        "a",
        "all.json",
        "z.png",
    ]


def test_nothing_staged_leaves_nothing(tmp_path, folders_stay):
    _make(tmp_path / "final", ["a"], "old")
    replace_folder(tmp_path / "missing", tmp_path / "final")
    assert not (tmp_path / "final").exists()


@pytest.mark.parametrize("kill", range(5))
def test_wherever_it_is_killed_the_last_file_says_whether_all_are_there(
    tmp_path, staged, monkeypatch, kill
):
    _make(tmp_path / "final", ["all.json", "a/old.png"], "old")
    calls = []

    def until(call):
        def stopping(*arguments, **options):
            calls.append(call)
            if len(calls) > kill:
                raise KeyboardInterrupt
            return call(*arguments, **options)

        return stopping

    for name in ("unlink", "replace"):  # of all.json and old.png, then of the three
        monkeypatch.setattr(os, name, until(getattr(os, name)))
    with pytest.raises(KeyboardInterrupt):
        replace_folder(staged, tmp_path / "final", last="all.json")
    monkeypatch.undo()
    found = _content(tmp_path / "final") if (tmp_path / "final").exists() else {}
    assert ("all.json" in found) == (kill == 0)
    if kill == 0:
        assert found == {"all.json": "old", "a/old.png": "old"}
    replace_folder(_stage(staged), tmp_path / "final", last="all.json")
    assert _content(tmp_path / "final") == NEW
