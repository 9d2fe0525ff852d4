import json
import types

import pytest
from end_to_end import TINY, arguments_of

from experiments import first_step


def test_the_best_run_is_the_one_of_the_fewest_seconds_of_a_core():
    runs = [{"a": [1.0, 3.0], "b": [1.0, 1.0]}, {"a": [5.0, 2.0], "b": [2.0, 1.5]}]
    parts = first_step.best(runs)
    assert parts["a"] == {"clock_s": 5.0, "core_s": 2.0}
    assert parts["all"] == {"clock_s": 7.0, "core_s": 3.5}
    assert first_step.table(parts).splitlines()[-1] == "| all | 7.00 | 3.50 |"


def test_a_command_that_does_not_train_is_told(tmp_path, monkeypatch):
    ended = types.SimpleNamespace(stderr="No such recipe.")
    monkeypatch.setattr(first_step.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(RuntimeError, match=r"No such recipe\."):
        first_step.one_run([], tmp_path)


def test_a_real_command_until_its_first_step(tmp_path):
    options = [each for each in arguments_of(tmp_path, **TINY) if not each.startswith("--workdir")]
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "old").touch()
    parts = first_step.one_run(options, tmp_path)
    assert not (tmp_path / "train" / "old").exists()
    assert tuple(parts) == first_step.PARTS
    assert all(clock > 0 and core > 0 for clock, core in parts.values())
    assert json.loads((tmp_path / "marks.json").read_text()) == parts
