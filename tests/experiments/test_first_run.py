import json
import subprocess

import pytest

from experiments import first_run
from experiments.results import config_hash, read
from hfpl_jax.recipe import load_recipe


def run_of(val):
    values = {"val/cam/miou": val, "train/cam/miou": 0.5}
    figures = {name: values.get(name, 0.25) for name in first_run.FIGURES}
    return {"figures": figures, "seconds": {"command": 120}}


def test_the_summary_is_mean_spread_worst_and_best():
    runs = {"one core": {"0": run_of(0.42), "1": run_of(0.44)}, "all cores": {"0": run_of(0.52)}}
    lines = first_run.summary(runs).splitlines()
    assert lines[2:] == [
        "| one core | 2 | 50.0 ± 0.0 | 43.0 ± 1.4 | 42.0 | 44.0 | 25.0 ± 0.0 | 2.0 |",
        "| all | 3 | 50.0 ± 0.0 | 46.0 ± 5.3 | 42.0 | 52.0 | 25.0 ± 0.0 | 2.0 |",
    ]


def test_runs_of_this_commit_are_kept_and_those_of_another_refused(tmp_path, monkeypatch):
    asked, path = [], tmp_path / "results" / "runs.json"

    def one_run(way, seed, folder):
        asked.append((way, seed, folder.name))
        return run_of(0.5)

    monkeypatch.setattr(first_run, "one_run", one_run)
    monkeypatch.setattr(first_run, "commit", lambda: "abc")
    monkeypatch.setattr(first_run, "today", lambda: "2026-01-02")
    arguments = [f"--workdir={tmp_path}", f"--json={path}", "--seeds=1"]
    first_run.main(arguments)
    assert [way for way, _, _ in asked] == list(first_run.WAYS)
    study = read(path)
    assert study["runs"] == {way: {"0": run_of(0.5)} for way in first_run.WAYS}
    assert study["config_hash"] == config_hash(load_recipe("configs/quickstart.py"))
    first_run.main(arguments)
    assert len(asked) == 3  # none again
    monkeypatch.setattr(first_run, "today", lambda: "2026-01-03")
    first_run.main([*arguments[:-1], "--seeds=2"])
    assert len(asked) == 6
    assert read(path)["date"] == "2026-01-02 to 2026-01-03"
    monkeypatch.setattr(first_run, "commit", lambda: "def")
    with pytest.raises(SystemExit, match="holds runs of the commit abc"):
        first_run.main(arguments)
    monkeypatch.setattr(first_run, "commit", lambda: "abc")
    path.write_text(json.dumps({**study, "runs": {"GAP": {"0": run_of(0.5)}}}))
    with pytest.raises(SystemExit, match="holds runs of another experiment"):
        first_run.main(arguments)
    path.write_text("{")
    with pytest.raises(SystemExit, match=r"first_run: .*runs\.json is not readable"):
        first_run.main(arguments)
    assert len(asked) == 6


def test_what_an_interrupted_call_left_is_no_part_of_a_run(tmp_path, monkeypatch):
    """A resumed run would take less time, and may be of other code."""
    left = tmp_path / "all_cores-0" / "train" / "metrics.jsonl"
    left.parent.mkdir(parents=True)
    left.write_text("{}")
    figures = dict.fromkeys(first_run.FIGURES, 0.5)

    def command(asked, **_):
        assert not left.exists()
        return subprocess.CompletedProcess(asked, 0, "", "")

    monkeypatch.setattr(first_run.subprocess, "run", command)
    monkeypatch.setattr(first_run, "read_metrics", lambda folder: {"other": 1.0, **figures})
    assert first_run.one_run("all cores", 0, tmp_path / "all_cores-0")["figures"] == figures
