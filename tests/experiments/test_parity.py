"""The command that compares the library with the published programs' numbers."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from experiments.parity import __main__ as main
from experiments.parity import crf
from experiments.parity.check import Check
from experiments.parity.networks import affinity_error
from experiments.parity.pieces import PIECES, check_piece, not_built
from hfpl_jax.refine import dense_crf
from hfpl_jax.runtime import console

ROOT = pathlib.Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "goldens"
QUANTITIES = {
    "importance sampling loss": 6,  # value, gradient and distribution of two cases
    "feature similarity loss": 8,  # value and gradient of four cases
    "SEAM and HFPL losses": 14,  # nine terms and sums of them, the gradients to five maps
    "PuzzleCAM step": 9,  # tiles, joined maps, five terms and weights, two gradients
    "PuzzleCAM inference": 2,
    # Of three cases nine maps and terms, and gradients to four features (the last one's
    # of GSC alone as well) and five kernels
    "SIPE step": 57,
    "SIPE inference": 8,  # of two cases two scales, their sum and the label map
    "PRM stimulation": 31,  # nine cases: peaks, means, gradient; two enlarged
    "PRM responses": 10,  # four convolutions; of two networks peaks and maps
    "PRM instances": 11,  # eight that are the same, three sums
    # Channels, descriptors; mean, components, deviations; whitened; ranks and distances
    "SBA (PWA) descriptors": 8,
    # Of three cases: the four terms, their sum, gradients to three features of two views
    "AMDIM loss": 24,
    "prototypes": 4,  # logits, loss, two gradients
    "DRS": 22,  # three of suppression, with gradients; two losses; maps; three networks
    "Group-WSSS graph": 38,  # messages, unit and dropout, with gradients; a group's readout
    "Group-WSSS network": 1,
    "PPC contrast": 24,  # of two cases: four terms, labels, prototypes, four gradients
    "PPC step": 30,  # of two cases: nine terms and sums of them, six gradients
    # Of V2 and Plus: three images, three sizes of maps; gradients of losses and of a step
    "MCTformer V2": 26,
    "MCTformer+": 29,
    "ViT": 25,  # three grids of positions by three rules; a normalisation; three images
    "LAL": 9,  # of three cases: windows, loss, gradient
    # Logits, gradients and a step with the batch's statistics; modules; the loss
    "OCR head": 15,
    "co-training losses": 8,  # two divergences of two cases, with gradients
    "co-training step": 10,  # four terms; of two networks an image and two gradients
    "CycleGAN losses": 25,  # eight terms of two cases; of one their total and eight gradients
    "CycleGAN networks": 2,
    "PAR": 4,  # one step, ten, other dilations, one colour
    "MCOF regions": 5,  # bins, posterior, region, two means
    "region merging": 5,  # neighbours, scores, rounds, regions of superpixels and pixels
    "MXNet file": 2,
    "CAM merge": 1,
    "affinity labels and loss": 4,
    "random walk": 3,
    "metrics": 9,
}
SLOW = {"SEAM network", "affinity network", "segmentation network", "dense CRF"}

pytestmark = pytest.mark.optimized


@pytest.mark.parametrize("piece", sorted(PIECES.keys() - SLOW))
def test_a_piece_agrees(piece):
    rows, problem = check_piece(piece, GOLDENS)
    assert not problem
    assert len(rows) == QUANTITIES[piece]
    assert not [row for row in rows if not row.ok]


def command(*arguments):
    line = [sys.executable, "-m", "experiments.parity", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def without_the_whole_by_all_pairs(image, scores, *, settings, algorithm):
    """All pairs of a whole picture take long, and what comes of it is information."""
    part = image.shape[:2] == (40, 60)
    return dense_crf(image, scores, settings=settings, algorithm=algorithm if part else "lattice")


@pytest.mark.slow
def test_the_command_finds_that_everything_agrees(monkeypatch, capsys):
    """The pieces that take long, and one more: the others' rows are looked at above."""
    pieces = {name: piece for name, piece in PIECES.items() if name in {*SLOW, "CAM merge"}}
    monkeypatch.setattr(main, "PIECES", pieces)
    monkeypatch.setattr(crf, "dense_crf", without_the_whole_by_all_pairs)
    monkeypatch.setattr(console, "set_up", lambda: None)
    with pytest.raises(SystemExit) as ended:
        main.main([f"--goldens={GOLDENS}", "--strict"])
    header, *rows, verdict = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0, rows
    assert header.startswith("piece")
    information = [row for row in rows if row.endswith("info")]
    assert [row[:26].strip() for row in information] == ["dense CRF, exact"] * 2
    assert all(row.endswith("ok") for row in rows if row not in information)
    assert all(any(row.startswith(piece) for row in rows) for piece in pieces)
    assert verdict == "Everything agrees."


@pytest.mark.parametrize("piece", PIECES)
def test_a_missing_file_is_named(piece, tmp_path):
    rows, problem = check_piece(piece, tmp_path)
    assert not rows
    assert "missing" in problem or "does not exist" in problem


def test_a_missing_array_is_named(tmp_path):
    with np.load(GOLDENS / "cam_merge.npz") as golden:
        kept = {name: golden[name] for name in golden if name != "norm_cam"}
    np.savez(tmp_path / "cam_merge.npz", **kept)
    rows, problem = check_piece("CAM merge", tmp_path)
    assert not rows
    assert "norm_cam" in problem


@pytest.mark.parametrize("left", ["nothing", "the beginning", "other bytes inside"])
def test_a_damaged_file_is_named(left, tmp_path):
    whole = (GOLDENS / "isl.npz").read_bytes()
    inside = whole[:2000] + bytes(1000) + whole[3000:]
    content = {"nothing": b"", "the beginning": whole[:3000], "other bytes inside": inside}
    (tmp_path / "isl.npz").write_bytes(content[left])
    rows, problem = check_piece("importance sampling loss", tmp_path)
    assert not rows
    assert problem.startswith("the file isl.npz, or one beside it, is damaged (")


def test_numbers_in_a_subfolder_are_found_and_those_of_no_piece_are_listed(tmp_path):
    for name in ("old/isl.npz", "new/deeper/other.npz", "new/deeper/ppc.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(GOLDENS / "isl.npz", tmp_path / name)
    rows, problem = check_piece("importance sampling loss", tmp_path)
    assert len(rows) == 6
    assert not problem
    assert not_built(tmp_path) == ["new/deeper/other.npz", "new/deeper/ppc.npz"]
    assert not_built(GOLDENS) == []
    shutil.copy(GOLDENS / "isl.npz", tmp_path / "new")
    rows, problem = check_piece("importance sampling loss", tmp_path)
    assert not rows
    assert problem == "there are new/isl.npz and old/isl.npz: keep one, or name its folder"


CALLS = {
    "everything agrees": ((), {}, 0, "Everything agrees."),
    "a piece is not built": ((), {"other.npz": 1.0}, 0, "Everything agrees."),
    "strict": (("--strict",), {"other.npz": 1.0}, 1, "Everything agrees."),
    "a number differs": ((), {"isl.npz": 1.001}, 1, "1 quantities differ or are missing."),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_fails_the_command(call, tmp_path, capsys, monkeypatch):
    arguments, files, status, verdict = CALLS[call]
    for name, factor in {"isl.npz": 1.0, **files}.items():
        with np.load(GOLDENS / "isl.npz") as golden:
            np.savez(tmp_path / name, **{**golden, "0_loss": golden["0_loss"] * factor})
    monkeypatch.setattr(console, "set_up", lambda: None)
    monkeypatch.setattr(main, "PIECES", ("importance sampling loss",))
    with pytest.raises(SystemExit) as ended:
        main.main([f"--goldens={tmp_path}", *arguments])
    assert ended.value.code == status
    _, *rows, last = capsys.readouterr().out.splitlines()
    assert last == verdict
    assert sum(row.endswith(" ok") for row in rows) == 6 - (call == "a number differs")
    assert [row.split() for row in rows if row.endswith("built")] == (
        [["other.npz", "not", "built"]] if "other.npz" in files else []
    )
    assert ("1 files hold numbers of pieces that are not built." in rows) == ("other.npz" in files)


def test_a_missing_file_fails_the_command(tmp_path):
    shutil.copy(GOLDENS / "metrics.npz", tmp_path)
    done = command(f"--goldens={tmp_path}")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("contour F") and line.endswith("ok")]
    assert [
        line
        for line in lines
        if line.startswith("random walk") and "affinity.npz is missing" in line
    ]
    assert lines[-1] == f"{len(PIECES) - 1} quantities differ or are missing."


def test_a_missing_folder_is_named(tmp_path):
    done = command(f"--goldens={tmp_path / 'nothing'}")
    assert done.returncode == 2
    assert "nothing does not exist" in done.stderr


def test_a_number_without_a_tolerance_is_information():
    assert Check("piece", "quantity", 5.0, None).ok
    assert Check("piece", "quantity", 5.0, None).line.endswith("5.00e+00           -  info")
    assert not Check("piece", "quantity", float("nan"), 1.0).ok


def test_affinities_are_compared_down_to_the_last_step_of_float32():
    distances = np.array([0.1, 3.0, 88.0, 103.1, 120.0])
    exact = np.exp(-distances)
    theirs = exact.astype(np.float32)
    assert theirs[3] == np.finfo(np.float32).smallest_subnormal  # rounded by 8 %
    assert theirs[4] == 0.0
    assert affinity_error(exact, theirs) < 1e-6
    assert affinity_error(np.exp(-distances * 1.001), theirs) == pytest.approx(0.084, rel=0.01)
    wrong = exact * [1.0, 1.02, 1.0, 1.0, 1.0]
    assert affinity_error(wrong, theirs) == pytest.approx(0.02, rel=1e-4)
