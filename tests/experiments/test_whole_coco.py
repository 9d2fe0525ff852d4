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
from experiments.whole_coco.__main__ import KEPT, STAGES, took
from experiments.whole_coco.photographs import write_coco
from experiments.whole_coco.processes import Failed, Sample, run, run_and_kill
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
    stages = iter(["before"] * 3 + ["after"] * 10_000)
    samples = run([], tmp_path / "log", lambda: next(stages))
    assert [sample.stage for sample in samples[:4]] == ["before"] * 3 + ["after"]
    first, second = np.max([sample.memory for sample in samples], axis=0) / 1e6
    assert first < 100 < 200 < second < 300
    assert max(samples[2].memory) < 100e6
    assert samples[-1].seconds > 1.5
    assert 0.9 < samples[-1].cpu_seconds < 4.0


def test_a_command_that_fails_is_told_and_none_of_it_goes_on(tmp_path, monkeypatch):
    command_of(
        "print('said', number)\nsys.exit(number) if number else time.sleep(600)", monkeypatch
    )
    with pytest.raises(Failed, match=r"--a failed:\n(.*\n)*said 1"):
        run(["--a"], tmp_path / "log", str)


def test_a_kill_takes_all_of_a_command(tmp_path, monkeypatch):
    command_of(
        "open(f'{sys.argv[-1][-1]}.pid', 'w').write(str(os.getpid()))\ntime.sleep(600)", monkeypatch
    )
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / f"{number}.pid" for number in range(2)]
    run_and_kill(
        [], tmp_path / "log", str, lambda: all(path.exists() and path.read_text() for path in paths)
    )
    for path in paths:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)
    command_of("pass", monkeypatch)
    with pytest.raises(Failed, match="ended before it was killed"):
        run_and_kill([], tmp_path / "log", str, lambda: False)


def test_a_stage_takes_what_all_its_commands_took_and_the_memory_of_the_last():
    killed = [Sample("data", 0, 0, (9_000_000, 1)), Sample("data", 2, 1, (9_000_000, 1))]
    last = [Sample("data", 0, 0, (1_000_000, 2_000_000)), Sample("data", 1, 1.5, (3_000_000, 1))]
    last += [Sample("data", second, second, (2, 4_000_000)) for second in (2, 3)]
    last += [Sample("cams", 4, 5, (5_000_000, 1)), Sample("cams", 7, 6, (1, 1))]
    figures, seconds = took([killed, last])
    assert seconds == {"data": 6, "cams": 3}
    of_data = {"data/mb_quarter": 2, "data/mb_half": 3, "data/mb": 4, "data/cpu_s": 6}
    of_cams = {"cams/mb_quarter": 5, "cams/mb_half": 5, "cams/mb": 5, "cams/cpu_s": 1}
    assert figures == of_data | of_cams


def of_stage(photographs, mb, **kept):
    figures = {"cpu_s": 20.6, "mb_quarter": mb - 2, "mb_half": mb - 1, "mb": mb, "mb_disk": 3.26}
    of_cams = {f"cams/{name}": value for name, value in (figures | kept).items()}
    return {"0": {"figures": {"photographs": photographs} | of_cams, "seconds": {"cams": 12.0}}}


def test_a_row_a_stage_and_what_its_memory_grows_from_run_to_run():
    runs = {"few": of_stage(4000, 500.0), "many": of_stage(84_000, 540.0, kept=1024)}
    assert table(runs).splitlines()[2:] == [
        "| 4,000 | cams | 12 | 21 | 498 | 499 | 500 |  | 3.3 |  |",
        "|  | all | 12 | 21 |  |  |  |  | 3.3 |  |",
        "| 84,000 | cams | 12 | 21 | 538 | 539 | 540 | 0.5 | 3.3 | 1,024 |",
        "|  | all | 12 | 21 |  |  |  |  | 3.3 |  |",
    ]


@pytest.mark.slow
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
