"""The command that times the library against what one would run instead."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.benchmark import __main__ as command
from experiments.benchmark import measure
from experiments.benchmark.metrics import contour
from experiments.benchmark.pieces import PIECES
from experiments.benchmark.side import Side, SideError, find
from hfpl_jax.runtime import allocator

ROOT = pathlib.Path(__file__).parents[2]
KEYS = {"speedup", "ours_s", "reference_s", "reference", "work", "peak_mb", "reference_peak_mb"}


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.benchmark", "--small", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def wrong_contour(**sizes) -> Side:
    side = contour(**sizes)
    return side._replace(
        numbers=lambda counts: {"matches and lengths": counts + np.eye(*counts.shape, dtype=int)}
    )


@pytest.mark.slow
def test_the_command(tmp_path):
    path = tmp_path / "results.json"
    done = run(f"--json={path}", "--only=contour,importance_sampling,threshold_sweep")
    assert done.returncode == 0, done.stderr
    content = json.loads(path.read_text())
    assert content["made_by"]["jax"] == jax.__version__
    results = content["pieces"]
    assert list(results) == ["contour", "importance_sampling", "threshold_sweep"]
    for name, entry in results.items():
        assert entry.keys() >= KEYS
        assert entry["speedup"] == pytest.approx(entry["reference_s"] / entry["ours_s"])
        assert entry["reference"] in PIECES[name].references
        assert (
            min(entry["ours_s"], entry["reference_s"])
            > 0.0
            <= min(entry["peak_mb"], entry["reference_peak_mb"])
        )
        assert [row for row in done.stdout.splitlines() if row.startswith(name) and "x" in row]


def test_an_unknown_piece_is_named(tmp_path):
    done = run(f"--json={tmp_path / 'results.json'}", "--only=contours")
    assert done.returncode == 1
    assert "--only has contours;" in done.stderr
    assert "threshold_sweep" in done.stderr
    assert not (tmp_path / "results.json").exists()


def test_a_missing_reference_is_told_before_time_is_spent(monkeypatch, capsys):
    without = PIECES["crf"]._replace(references={"not_installed": "not_installed:function"})
    monkeypatch.setitem(vars(command), "PIECES", {"crf": without})
    monkeypatch.setattr(command, "SideProcess", None)  # of the machine's rates
    with pytest.raises(measure.BenchmarkError, match=r"crf .* not_installed, .* pip install"):
        command.run(["crf"], small=True)
    with pytest.raises(TypeError):
        command.run([], small=True)
    assert "Left out: crf is measured against not_installed" in capsys.readouterr().out
    with pytest.raises(measure.BenchmarkError, match="pip install"):
        measure.measure("crf", without, without.small)


def test_a_wrong_reference_is_an_error():
    piece = PIECES["contour"]._replace(references={"numpy": f"{__name__}:wrong_contour"})
    with pytest.raises(measure.BenchmarkError, match="matches and lengths"):
        measure.measure("contour", piece, piece.small)


def test_a_side_that_fails_says_why():
    with pytest.raises(SideError, match="no_such_size"):
        measure.measure("contour", PIECES["contour"], {"no_such_size": 1})


def test_numbers_must_be_close_and_of_the_same_names():
    one = {"loss": np.array([1.0, 2.0])}
    assert measure.check("piece", one, {"loss": np.array([1.0, 2.0002])}, 1e-3) == pytest.approx(
        1e-4, rel=1e-3
    )
    for theirs in (
        {"loss": np.array([1.0, 2.01])},
        {"loss": np.array([1.0, np.nan])},
        {"other": one["loss"]},
        {},
    ):
        with pytest.raises(measure.BenchmarkError, match="piece"):
            measure.check("piece", one, theirs, 1e-3)


@pytest.mark.parametrize("name", ["feature_similarity", "random_walk"])
def test_references_in_jax_agree(name):
    """What stands in where PyTorch is missing."""
    piece = PIECES[name]
    ours, theirs = (
        find(function)(**piece.small) for function in (piece.ours, piece.references["jax"])
    )
    measure.check(name, ours.numbers(ours.run()), theirs.numbers(theirs.run()), piece.tolerance)


@pytest.mark.parametrize("name", PIECES)
def test_every_function_is_there(name):
    piece = PIECES[name]
    assert "{" not in piece.work.format(**piece.sizes)
    assert piece.sizes.keys() == piece.small.keys()
    for function in (piece.ours, *piece.references.values()):
        if "torch" not in function:
            assert callable(find(function))


@pytest.mark.slow
# The first three are in the test of the command; the last is seam_step with a network
# that test_parity knows, and takes a minute.
@pytest.mark.parametrize(
    "name",
    sorted(
        PIECES.keys() - {"contour", "importance_sampling", "threshold_sweep", "seam_step_resnet38"}
    ),
)
def test_the_other_pieces_agree(name, monkeypatch):
    """In this process, where nothing is imported once more; and they can be run again."""
    monkeypatch.setattr(allocator, "spare_memory", lambda: None)
    first = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: first)  # of a process of its own
    piece = PIECES[name]
    if not (reference := measure.reference_of(piece)):
        pytest.skip(measure.needs(name, piece))
    _, function = reference
    sides = [find(each)(**piece.small) for each in (piece.ours, function)]
    measure.check(name, *(side.numbers(side.run()) for side in sides), piece.tolerance)
    for side in sides:
        side.run()
