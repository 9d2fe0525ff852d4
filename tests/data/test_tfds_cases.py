"""TFDS's DatasetBuilderTestCase over our builders, in a process of its own: it imports
TensorFlow.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
def test_builders_pass_the_test_case_of_tfds(tmp_path):
    for needed in ("tensorflow", "dill"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    paths = os.pathsep.join([str(ROOT), *sys.path])
    environment = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, pathlib.Path(__file__).with_name("tfds_cases.py"), tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    assert "Ran 30 tests" in done.stderr  # of five builders
