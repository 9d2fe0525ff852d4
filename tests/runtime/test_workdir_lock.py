"""Who may work in a workdir: one command, and after a kill the next one."""

import contextlib
import errno
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import threading
import time

import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.runtime import workdir_lock
from hfpl_jax.runtime.workdir_lock import LOCK, STALE_S, WRITING_S, held

HOLDER = """
import pathlib, sys, time
from hfpl_jax.runtime.workdir_lock import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def another(workdir):
    """A process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, workdir], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def holder(tmp_path):
    with another(tmp_path / "run") as process:
        yield process


def names(workdir):
    return sorted(path.name for path in workdir.iterdir())


def mark(workdir, **changes):
    """The file of a process of this machine that still runs, but for the changes."""
    (workdir / LOCK).unlink(missing_ok=True)
    with held(workdir):
        content = json.loads((workdir / LOCK).read_text())
    (workdir / LOCK).write_text(json.dumps(content | changes))


def taken(workdir):
    with held(workdir):
        return json.loads((workdir / LOCK).read_text())["pid"] == os.getpid()


def test_the_second_command_says_who_is_there_and_touches_nothing(holder, tmp_path):
    before = (tmp_path / "run" / LOCK).read_bytes()
    with pytest.raises(InputError) as told, held(tmp_path / "run"):
        pass
    assert f"in use by process {holder.pid} on {platform.node()}, " in str(told.value)
    assert str(told.value).endswith("stop it, or work in another folder.")
    assert (tmp_path / "run" / LOCK).read_bytes() == before


def test_after_a_kill_the_next_command_takes_over_at_once(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    while workdir_lock._start_of(holder.pid) not in ("ended", ""):
        time.sleep(0.01)
    assert taken(tmp_path / "run")  # also while nobody has waited for the dead one
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_number_that_another_process_has_now_is_a_dead_process(tmp_path):
    mark(tmp_path)
    with pytest.raises(InputError, match=f"process {os.getpid()} on"):
        taken(tmp_path)
    mark(tmp_path, started="1")
    assert taken(tmp_path)


@pytest.mark.parametrize(("age", "gone"), [(STALE_S - 5, False), (STALE_S + 5, True)])
def test_on_another_machine_the_heartbeat_decides(tmp_path, age, gone):
    mark(tmp_path, host="far", place="far boot", beat=time.time() - age)
    if gone:
        assert taken(tmp_path)
    else:
        with pytest.raises(InputError, match=r"on far, which last gave a sign of life 115 s ago"):
            taken(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}'])
@pytest.mark.parametrize(("age", "gone"), [(0, False), (WRITING_S + 2, True)])
def test_a_file_that_says_nothing_is_one_that_is_being_written(tmp_path, content, age, gone):
    (tmp_path / LOCK).write_text(content)
    os.utime(tmp_path / LOCK, (time.time() - age,) * 2)
    if gone:
        assert taken(tmp_path)
    else:
        told = r"is starting in .*lock\.json does not say whose it is\. .* if none runs, 10 s, and"
        with pytest.raises(InputError, match=told):
            taken(tmp_path)


def test_one_that_is_slow_to_take_over_finds_that_another_did(tmp_path, monkeypatch):
    """However long it takes between its look at the dead one and its claim."""
    mark(tmp_path, started="1")
    create = workdir_lock._create
    with contextlib.ExitStack() as others:
        found = []

        def slow(path, content):
            if path.name != LOCK and not found:
                found.append(others.enter_context(another(tmp_path)))
            return create(path, content)

        monkeypatch.setattr(workdir_lock, "_create", slow)
        with pytest.raises(InputError) as told:
            taken(tmp_path)
        [process] = found
        assert f"is in use by process {process.pid} on" in str(told.value)
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == process.pid
        assert names(tmp_path) == [LOCK]


def test_of_many_at_once_one_takes_over(tmp_path):
    inside, most, won = [], [], []

    def take(start):
        start.wait()
        with contextlib.suppress(InputError), held(tmp_path):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()
            won.append(1)

    for _ in range(10):
        mark(tmp_path, started="1")
        start = threading.Barrier(8)
        threads = [threading.Thread(target=take, args=(start,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(most) == 1
    assert len(won) >= 10  # none was refused by one that was refused itself
    assert names(tmp_path) == []


@pytest.mark.parametrize("alive", [True, False])
def test_one_that_died_while_it_took_over_is_succeeded(tmp_path, alive):
    mark(tmp_path, started="1")
    dead = (tmp_path / LOCK).read_bytes()
    claim = workdir_lock._claim_to(tmp_path / LOCK, dead)
    mine = json.loads(dead)
    parent = {"pid": os.getppid(), "started": workdir_lock._start_of(os.getppid())}
    claim.write_text(json.dumps(mine | (parent if alive else {"started": "2"})))
    if alive:
        with pytest.raises(InputError, match=f"in use by process {os.getppid()} on"):
            taken(tmp_path)
        assert names(tmp_path) == [LOCK, claim.name]
    else:
        assert taken(tmp_path)
        assert names(tmp_path) == []


def test_what_killed_commands_left_is_removed_by_the_next(tmp_path):
    """At its end, and not what one may be writing at this moment."""
    for name, age in (("0f.incomplete", 60), ("0f", 60), ("1e.incomplete", 0)):
        (tmp_path / f"{LOCK}.{name}").write_text("")
        os.utime(tmp_path / f"{LOCK}.{name}", (time.time() - age,) * 2)
    (tmp_path / "lock.jpg").write_text("")
    os.utime(tmp_path / "lock.jpg", (1, 1))
    assert taken(tmp_path)
    assert names(tmp_path) == ["lock.jpg", f"{LOCK}.1e.incomplete"]


def test_a_disk_without_hard_links(tmp_path, monkeypatch):
    """As an object store is mounted."""

    def link(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert taken(tmp_path)
    mark(tmp_path)
    with pytest.raises(InputError, match=f"process {os.getpid()} on"):
        taken(tmp_path)
    mark(tmp_path, started="1")
    assert taken(tmp_path)
    assert names(tmp_path) == []


def test_a_kill_never_leaves_an_empty_file(tmp_path, monkeypatch):
    """The name comes after the content."""
    seen = []

    def link(source, target):
        seen.append((json.loads(pathlib.Path(source).read_text())["pid"], target.exists()))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(KeyboardInterrupt):
        taken(tmp_path)
    assert seen == [(os.getpid(), False)]
    assert names(tmp_path) == []


def test_the_heart_beats_while_the_work_goes_on_and_then_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir_lock, "BEAT_S", 0.01)

    def beat():
        return json.loads((tmp_path / LOCK).read_text())["beat"]

    def interrupted():
        with held(tmp_path):
            first = beat()
            while beat() == first:
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_one_that_was_taken_over_stops_before_it_does_harm(tmp_path):
    script = HOLDER.replace(
        "import pathlib", "import pathlib, hfpl_jax.runtime.workdir_lock as l"
    ).replace("with held", "l.BEAT_S = 0.05\nwith held")
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    other = {"host": "far", "place": "far", "pid": 7, "started": "1", "beat": time.time()}
    while process.poll() is None:
        (tmp_path / "new").write_text(json.dumps(other))
        os.replace(tmp_path / "new", tmp_path / LOCK)
        time.sleep(0.02)
    _, err = process.communicate()
    assert process.returncode == 2
    assert f"Process 7 on far has taken over {tmp_path}" in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / LOCK).read_text()) == other


def test_a_workdir_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"Cannot write .*file/lock\.json"):
        taken(tmp_path / "file")


def test_data_may_be_prepared_in_the_workdir_itself(tmp_path):
    with held(tmp_path):
        with held(tmp_path, within=True):
            pass
        assert (tmp_path / LOCK).exists()  # still held
        with pytest.raises(InputError, match="is in use by process"), held(tmp_path):
            pass
    assert not (tmp_path / LOCK).exists()
    with held(tmp_path, within=True):
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()
