"""Nothing in memory grows with the dataset but names and sizes."""

import json
import os
import subprocess
import sys

import pytest
from end_to_end import ROOT

FEW, MANY = 100, 500
BYTES_A_PHOTOGRAPH = 2_000
"""May be kept of each: its name, size and labels. A photograph, its CAMs or its masks are several times as much."""


def stage_peaks(folder, count):
    folder.mkdir()
    script = subprocess.run(
        [sys.executable, ROOT / "tests" / "peak_memory.py", folder, str(count)],
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert script.returncode == 0, script.stderr
    return json.loads(script.stdout.splitlines()[-1])


@pytest.mark.slow
def test_no_stage_holds_the_dataset(tmp_path):
    few, many = stage_peaks(tmp_path / "few", FEW), stage_peaks(tmp_path / "many", MANY)
    growth = {stage: (many[stage] - few[stage]) / (MANY - FEW) for stage in many}
    print(growth)
    assert {"data", "train", "cams", "metrics", "crf", "affinity", "labels", "export", "export coco", "report"} <= growth.keys()
    assert not {stage: bytes_each for stage, bytes_each in growth.items() if bytes_each > BYTES_A_PHOTOGRAPH}
