import json
import os
import subprocess

import pytest

from experiments import first_run


def run_of(way, seed, val):
    return {
        "way": way,
        "seed": seed,
        "seconds": 120,
        "threshold": 0.4,
        "train_miou": 0.5,
        "train_contour_f_present": 0.2,
        "val_miou": val,
        "val_contour_f_present": 0.25,
    }


def test_the_summary_is_mean_spread_worst_and_best():
    runs = [run_of("one core", 0, 0.42), run_of("one core", 1, 0.44), run_of("all cores", 0, 0.52)]
    lines = first_run.summary(runs).splitlines()
    assert lines[2:] == [
        "| one core | 2 | 50.0 ± 0.0 | 43.0 ± 1.4 | 42.0 | 44.0 | 25.0 ± 0.0 | 2.0 |",
        "| all | 3 | 50.0 ± 0.0 | 46.0 ± 5.3 | 42.0 | 52.0 | 25.0 ± 0.0 | 2.0 |",
    ]


def test_runs_of_this_commit_are_kept_and_those_of_another_refused(tmp_path, monkeypatch):
    asked, path = [], tmp_path / "results" / "runs.json"

    def one_run(way, seed, folder):
        asked.append((way, seed, folder.name))
        return run_of(way, seed, 0.5)

    monkeypatch.setattr(first_run, "one_run", one_run)
    monkeypatch.setattr(first_run, "machine", lambda: {"commit": "abc"})
    arguments = [f"--workdir={tmp_path}", f"--json={path}", "--seeds=1"]
    first_run.main(arguments)
    assert [way for way, _, _ in asked] == list(first_run.WAYS)
    assert json.loads(path.read_text())["runs"][0] == run_of("one core", 0, 0.5)
    first_run.main(arguments)
    assert len(asked) == 3  # none again
    monkeypatch.setattr(first_run, "machine", lambda: {"commit": "def"})
    with pytest.raises(SystemExit, match="holds runs of the commit abc"):
        first_run.main(arguments)


def test_what_an_interrupted_call_left_is_no_part_of_a_run(tmp_path, monkeypatch):
    """A resumed run would take less time, and may be of other code."""
    left = tmp_path / "all_cores-0" / "train" / "metrics.jsonl"
    left.parent.mkdir(parents=True)
    left.write_text("{}")
    figures = {f"{role}/cam/{name}": 0.5 for role in ("train", "val") for name in first_run.FIGURES}

    def command(asked, **_):
        assert not left.exists()
        return subprocess.CompletedProcess(asked, 0, "", "")

    monkeypatch.setattr(first_run.subprocess, "run", command)
    monkeypatch.setattr(first_run, "read_metrics", lambda folder: {"threshold": 0.4, **figures})
    assert first_run.one_run("all cores", 0, tmp_path / "all_cores-0")["val_miou"] == 0.5


def test_the_cores_are_those_that_the_runs_may_use(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 6}, raising=False)
    assert first_run.machine()["cores"] == 3
