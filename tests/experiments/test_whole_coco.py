"""All stages on generated photographs in COCO's layout, killed in three of them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from end_to_end import ROOT, flags, forbidden
from PIL import Image

from experiments.results import read
from experiments.whole_coco import processes
from experiments.whole_coco.__main__ import KEPT, STAGES
from experiments.whole_coco.photographs import write_coco
from experiments.whole_coco.processes import Failed, Watched, run, run_and_kill
from experiments.whole_coco.table import table
from hfpl_jax.data.coco_seg import CocoSeg
from hfpl_jax.masks import IGNORE

POPEN = subprocess.Popen
COUNT = 160  # more than a shard of records for each process


def test_photographs_are_those_of_a_coco_and_written_once(tmp_path):
    root = tmp_path / "coco"
    size = write_coco(root, {"train": 20, "val": 4})
    photographs = sorted(root.glob("train2014/*.jpg"))
    assert len(photographs) == 20
    assert size == sum(path.stat().st_size for path in root.rglob("*.jpg"))
    assert {Image.open(path).size for path in photographs} == {(64, 48), (48, 64)}
    assert len({path.read_bytes() for path in root.rglob("*.jpg")}) == 24
    written = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert write_coco(root, {"train": 20, "val": 4}) == size
    assert written == {path: path.stat().st_mtime_ns for path in written}

    builder = CocoSeg(root=str(root), year="2014", data_dir=tmp_path / "data")
    assert len(builder.class_names) == 80
    records = builder._records("train")
    assert len(records) == 20
    masks = []
    for record in records:
        with Image.open(record.payload.image) as photograph:
            said = builder._annotate(record, photograph.height, photograph.width)
        assert len(said.labels) > 0  # or it would be left out
        masks.append(said.mask)
    assert [bool(np.any(mask == IGNORE)) for mask in masks] == [True, *[False] * 9] * 2


def command_of(code, monkeypatch):
    """The watched command runs `code`, which finds the number of its process."""
    lines = f"import os, sys, time\nnumber = int(sys.argv[-1][-1])\n{code}"
    monkeypatch.setattr(
        processes.subprocess,
        "Popen",
        lambda words, **options: POPEN([sys.executable, "-c", lines, words[-1]], **options),
    )


def test_memory_and_time_are_those_of_the_processes(tmp_path, monkeypatch):
    command_of(
        "time.sleep(1)\nheld = b'x' * (number * 200_000_000)\nstarted = time.process_time()\n"
        "while time.process_time() < started + 0.5: pass\ntime.sleep(0.5)",
        monkeypatch,
    )
    watched = run([], tmp_path / "log")
    assert 200 < watched.peak_mb() < 300
    assert watched.peak_mb(0.1) < 100
    assert watched.seconds > 2.0
    assert 1.0 <= watched.cpu_seconds < 3.0


def test_a_command_that_fails_is_told_and_none_of_it_goes_on(tmp_path, monkeypatch):
    command_of(
        "print('said', number)\nsys.exit(number) if number else time.sleep(600)", monkeypatch
    )
    with pytest.raises(Failed, match=r"--a failed:\n(.*\n)*said 1"):
        run(["--a"], tmp_path / "log")


def test_a_kill_takes_all_of_a_command(tmp_path, monkeypatch):
    command_of(
        "open(f'{sys.argv[-1][-1]}.pid', 'w').write(str(os.getpid()))\ntime.sleep(600)", monkeypatch
    )
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / f"{number}.pid" for number in range(2)]
    run_and_kill(
        [], tmp_path / "log", lambda: all(path.exists() and path.read_text() for path in paths)
    )
    for path in paths:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)
    command_of("pass", monkeypatch)
    with pytest.raises(Failed, match="ended before it was killed"):
        run_and_kill([], tmp_path / "log", lambda: False)


def test_peaks_are_those_of_the_larger_process():
    watched = Watched(memory=[(1_000_000, 2_000_000), (5_000_000, 1_000_000), (0, 9_000_000)] * 4)
    watched.memory.append((11_000_000, 0))
    assert [watched.peak_mb(share) for share in (0.1, 1 / 4, 1)] == [2.0, 9.0, 11.0]


def test_a_row_a_stage():
    figures = {"photographs": 82_783, "cams/cpu_s": 20.5, "cams/mb_quarter": 500.4}
    figures |= {"cams/mb_half": 510.0, "cams/mb": 512.0, "cams/mb_disk": 3.25, "cams/kept": 1024}
    lines = table({"all": {"0": {"figures": figures, "seconds": {"cams": 12.0}}}}).splitlines()
    assert lines[2] == "| 82,783 | cams | 12 | 20 | 500 | 510 | 512 | 3.2 | 1,024 |"


@pytest.mark.slow
@pytest.mark.optimized
def test_a_killed_run_comes_to_its_end(tmp_path):
    words = [sys.executable, "-m", "experiments.whole_coco", f"--workdir={tmp_path / 'runs'}"]
    words += [f"--photographs={COUNT}", f"--json={tmp_path / 'whole.json'}", "--", *flags({})]
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": forbidden()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    study = read(tmp_path / "whole.json")
    run_of = study["runs"][f"{COUNT} photographs"]["0"]
    assert tuple(run_of["seconds"]) == STAGES
    figures = run_of["figures"]
    assert 64 <= figures["cams/kept"] < COUNT
    assert all(100 < figures[f"{stage}/mb"] < 4000 for stage in STAGES)
    assert all(figures[f"{stage}/mb_disk"] > 0 for stage in STAGES)
    assert set(KEPT) | {"export"} == {name.split("/")[0] for name in figures if "/kept" in name}
    assert done.stdout.endswith(table(study["runs"]) + "\n")
    assert json.loads((tmp_path / "whole.json").read_text())["config"].startswith("configs/cam.py")
