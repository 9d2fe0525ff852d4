"""Kills a run repeatedly and checks that it comes to the same result: `python -m
experiments.chaos --workdir=DIR --kills=20`.

One run is not interrupted. Others are killed with SIGKILL after random times, and
started again, until the kills are used up; each must end with the metrics, the records
and the export of the first, to the last bit. Then runs are told to stop by SIGTERM and
by Ctrl-C, and one meets a full disk (a small tmpfs, where this process may mount one)
and resumes when there is space. What follows `--` are options of `python -m hfpl_jax`,
by default the quickstart.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from absl import app, flags

from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.termination import INTERRUPTED
from hfpl_jax.training.checkpoint import has_checkpoints

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the runs, new or empty.")
_KILLS = flags.DEFINE_integer("kills", 20, "How many times a run is killed.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 0, "Of the times of the kills.")
_DISK_MB = flags.DEFINE_integer(
    "disk_mb", 0, "Size of the disk that gets full; 0 for half of what a run takes.", lower_bound=0
)

_LIMIT_S = 3600
_STOPS_WITHIN_S = 60


class Broken(Exception):
    """A run did not survive, or there was no room for it."""


def command(folder: pathlib.Path, options: list[str]) -> subprocess.Popen:
    cache = pathlib.Path(_WORKDIR.value).absolute() / "compilation_cache"
    line = [
        sys.executable,
        "-m",
        "hfpl_jax",
        f"--config.run.compilation_cache={cache}",  # unless the options name another
        *options,
        f"--workdir={folder}",
    ]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen, *, status: int = 0) -> str:
    """Its standard error; raises `Broken` if it ends in another way than expected."""
    _, err = process.communicate(timeout=_LIMIT_S)
    if process.returncode != status:
        raise Broken(f"Exit status {process.returncode} instead of {status}:\n{err[-2000:]}")
    return err


def result(folder: pathlib.Path) -> dict:
    """All that a run is for: metrics, records by photograph, and the files of the
    export.
    """
    found: dict = {
        str(path.relative_to(folder)): json.loads(path.read_text())
        for path in sorted(folder.glob("*/metrics.json"))
    }
    for path in sorted({shard.parent for shard in folder.rglob("records-*.array_record")}):
        found[str(path.relative_to(folder))] = {
            record["file_name"]: {name: _plain(value) for name, value in record.items()}
            for record in RecordReader(path)
        }
    for path in sorted(
        path
        for path in (folder / "export").rglob("*")
        if path.is_file() and path.name != "manifest.json"
    ):
        found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def _plain(value: object) -> object:
    """An array as lists, which one "==" compares."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def compare(folder: pathlib.Path, expected: dict) -> None:
    found = result(folder)
    differing = sorted(
        name
        for name in expected.keys() | found.keys()
        if name not in found or found[name] != expected.get(name)
    )
    leftovers = [str(path.relative_to(folder)) for path in folder.rglob("*.incomplete")]
    if differing or leftovers:
        raise Broken(
            f"{folder} differs from the undisturbed run in {differing}; half-written: {leftovers}."
        )


def kill_often(
    workdir: pathlib.Path,
    options: list[str],
    expected: dict,
    duration: float,
    kills: int,
    rng: random.Random,
) -> None:
    """Kills at times that are spread over the whole run: on average, a run is killed
    four times before it is through.
    """
    done = number = 0
    while done < kills:
        folder, killed = workdir / f"killed-{number}", 0
        while True:
            process = command(folder, options)
            if done < kills:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0.0, duration / 2))
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    process.communicate()
                    done, killed = done + 1, killed + 1
                    continue
            finish(process)
            break
        compare(folder, expected)
        print(f"killed {killed} times: the same result", flush=True)
        shutil.rmtree(folder)
        number += 1


def stop_once(
    workdir: pathlib.Path, options: list[str], expected: dict, asked: signal.Signals, status: int
) -> None:
    """In the middle of training, behind its first checkpoint."""
    folder = workdir / f"stopped-{status}"
    process = command(folder, options)
    while process.poll() is None and not has_checkpoints(folder / "train"):
        time.sleep(0.01)
    process.send_signal(asked)
    began = time.monotonic()
    err = finish(process, status=status)
    seconds = time.monotonic() - began
    if seconds > _STOPS_WITHIN_S or "Stopped as asked, and saved." not in err:
        raise Broken(f"After {asked.name} it took {seconds:.0f} s to the end:\n{err[-2000:]}")
    if "Traceback" in err:
        raise Broken(f"A traceback after {asked.name}:\n{err[-2000:]}")
    finish(command(folder, options))
    compare(folder, expected)
    print(f"{asked.name}: status {status} after {seconds:.1f} s, then the same result", flush=True)


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, megabytes: int) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder],
        check=True,
        capture_output=True,
    )
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill_disk(workdir: pathlib.Path, options: list[str], expected: dict, megabytes: int) -> None:
    disk = workdir / "disk"
    try:
        with small_disk(disk, megabytes):
            err = finish(command(disk / "run", options), status=2)
            if "Free some space" not in err:
                raise Broken(f"A full disk was not named:\n{err[-2000:]}")
            subprocess.run(["mount", "-o", f"remount,size={20 * megabytes}m", disk], check=True)
            finish(command(disk / "run", options))
            compare(disk / "run", expected)
    except (subprocess.CalledProcessError, FileNotFoundError):
        print("full disk: left out, as this user may not mount a tmpfs", flush=True)
        return
    print(f"disk of {megabytes} MB: a clear error, then the same result", flush=True)


def main(argv: list[str]) -> None:
    options = argv[1:] or ["--config=configs/quickstart.py"]
    workdir = pathlib.Path(_WORKDIR.value).absolute()
    # What is started in the background ignores Ctrl-C, and so would its runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if workdir.exists() and any(workdir.iterdir()):
            raise Broken(f"{workdir} is not empty. Choose a new --workdir.")
        workdir.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        finish(command(workdir / "alone", options))
        duration = time.monotonic() - began
        expected = result(workdir / "alone")
        size = sum(path.stat().st_size for path in (workdir / "alone").rglob("*") if path.is_file())
        print(f"undisturbed: {duration:.0f} s, {size / 1e6:.0f} MB", flush=True)
        kill_often(workdir, options, expected, duration, _KILLS.value, random.Random(_SEED.value))
        stop_once(workdir, options, expected, signal.SIGTERM, 0)
        stop_once(workdir, options, expected, signal.SIGINT, INTERRUPTED)
        fill_disk(workdir, options, expected, _DISK_MB.value or max(1, int(size / 2e6)))
    except Broken as error:
        print(f"\nchaos: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    os.chdir(pathlib.Path(__file__).parents[1])
    app.run(main)
