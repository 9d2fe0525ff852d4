"""Nothing in memory grows with the dataset but names and sizes."""

import json
import subprocess
import sys

import pytest
from end_to_end import ROOT, environment

FEW, MANY = 40, 280
BYTES_A_PHOTOGRAPH = 7_000
"""Half of one. Names, sizes and labels are kept, 1 to 3 kB of each; the rest is for the
garbage that happens to lie there at the time.
"""


@pytest.mark.slow
def test_no_stage_holds_the_dataset(tmp_path):
    command = [sys.executable, ROOT / "tests" / "peak_memory.py", tmp_path, str(FEW), str(MANY)]
    script = subprocess.run(command, env=environment(1), capture_output=True, text=True)
    assert script.returncode == 0, script.stderr
    few, many = (json.loads(line) for line in script.stdout.splitlines()[-2:])
    print(few, many)  # for whom it fails
    growth = {stage: (many[stage] - few[stage]) / (MANY - FEW) for stage in many}
    expected = {
        "data",
        "train",
        "cams",
        "metrics",
        "crf",
        "refine.random_walk.affinity",
        "labels",
        "export",
        "export png",
        "export coco",
        "export voc",
        "export parquet",
        "export yolo",
        "report",
        "predict",
    }
    assert expected <= growth.keys()
    assert not {
        stage: bytes_each for stage, bytes_each in growth.items() if bytes_each > BYTES_A_PHOTOGRAPH
    }
