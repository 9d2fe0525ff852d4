"""The command that holds the library against the published program's numbers."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from experiments.parity import __main__ as parity

ROOT = pathlib.Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "goldens"
QUANTITIES = {
    "importance sampling loss": 6,  # value, gradient and distribution of two cases
    "feature similarity loss": 8,  # value and gradient of four cases
    "SEAM and HFPL losses": 14,  # nine terms and sums of them, the gradients to five maps
    "MXNet file": 2,
    "CAM merge": 1,
    "affinity labels and loss": 4,
    "random walk": 3,
    "metrics": 9,
}
SLOW = {"SEAM network", "affinity network", "segmentation network", "dense CRF"}

pytestmark = pytest.mark.optimized


@pytest.mark.parametrize("piece", sorted(parity.PIECES.keys() - SLOW))
def test_a_piece_agrees(piece):
    rows, problem = parity.check_piece(piece, GOLDENS)
    assert not problem
    assert len(rows) == QUANTITIES[piece]
    assert not [row for row in rows if not row.ok]


@pytest.mark.slow
def test_the_command_finds_that_everything_agrees():
    command = [sys.executable, "-m", "experiments.parity", f"--goldens={GOLDENS}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    header, *rows, verdict = done.stdout.splitlines()
    assert header.startswith("piece")
    assert all(row.endswith("ok") for row in rows)
    assert all(any(row.startswith(piece) for row in rows) for piece in SLOW)
    assert verdict == "Everything agrees."


@pytest.mark.parametrize("piece", parity.PIECES)
def test_a_missing_file_is_named(piece, tmp_path):
    rows, problem = parity.check_piece(piece, tmp_path)
    assert not rows
    assert "missing" in problem or "does not exist" in problem


def test_a_missing_array_is_named(tmp_path):
    with np.load(GOLDENS / "crf.npz") as golden:
        np.savez(
            tmp_path / "crf.npz", **{name: golden[name] for name in golden if name != "crf_alpha24"}
        )
    rows, problem = parity.check_piece("dense CRF", tmp_path)
    assert not rows
    assert "crf_alpha24" in problem


def test_the_command_fails_where_a_number_differs(tmp_path):
    for name in ("isl.npz", "metrics.npz"):
        shutil.copy(GOLDENS / name, tmp_path)
    with np.load(GOLDENS / "isl.npz") as golden:
        np.savez(tmp_path / "isl.npz", **{**golden, "0_loss": golden["0_loss"] * 1.001})
    command = [sys.executable, "-m", "experiments.parity", f"--goldens={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if "loss, case 0" in line and line.endswith("FAILED")]
    assert [line for line in lines if line.startswith("contour F") and line.endswith("ok")]
    assert [
        line
        for line in lines
        if line.startswith("random walk") and "affinity.npz is missing" in line
    ]


def test_a_missing_folder_is_named(tmp_path):
    command = [sys.executable, "-m", "experiments.parity", f"--goldens={tmp_path / 'nothing'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nothing does not exist" in done.stderr
