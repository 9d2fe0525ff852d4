"""The command that kills runs, on a run of seconds."""

import os
import subprocess
import sys

import pytest
from end_to_end import ROOT, TINY, flags, forbidden

pytestmark = pytest.mark.optimized

CHAOS = [sys.executable, "-m", "experiments.chaos"]


@pytest.mark.slow
def test_a_killed_run_comes_to_the_same_result(tmp_path):
    options = ["--config=configs/quickstart.py:debug", *flags(TINY | {"train.epochs": 2})]
    options += ["--stages=data,train,cams,metrics,labels,export"]  # reports are not compared
    done = subprocess.run(
        [*CHAOS, f"--workdir={tmp_path / 'runs'}", "--kills=2", "--", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": forbidden()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    undisturbed, *killed, stopped, interrupted, disk = done.stdout.splitlines()
    assert undisturbed.startswith("undisturbed: ")
    assert sum(int(line.split()[1]) for line in killed) == 2
    assert all(line.endswith("the same result") for line in (*killed, stopped, interrupted))
    assert stopped.startswith("SIGTERM: status 0 ")
    assert interrupted.startswith("SIGINT: status 130 ")
    assert disk.startswith(("disk of ", "full disk: left out"))


def test_a_run_that_fails_is_told(tmp_path):
    done = subprocess.run(
        [*CHAOS, f"--workdir={tmp_path / 'runs'}", "--", "--config=configs/quickstart.py:typo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Unknown switch" in done.stderr
