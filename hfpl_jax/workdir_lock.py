"""One command a workdir, or a folder of prepared data: a small file in it names the
process that works there, and a heartbeat says that it still does.

A killed process leaves its file behind. The next command takes the folder over: at once
where it can see that the process is gone, and on another machine when the heartbeat is
older than two minutes.
"""

import contextlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from hfpl_jax import atomic
from hfpl_jax.errors import InputError

LOCK = "lock.json"

BEAT_S = 20.0
STALE_S = 120.0
"""A heartbeat from another machine that is older than this is a dead process's."""

_SETTLE_S = 0.3
"""How long one that takes over waits, to see whether another did the same."""


@contextlib.contextmanager
def held(folder: pathlib.Path, *, within: bool = False) -> Iterator[None]:
    """The folder belongs to this process inside the block.

    Args:
      folder: made if it is missing.
      within: whether this process may hold it already, and goes on holding it then: data
        may be prepared in the workdir itself.

    Raises:
      InputError: another command works in it, or it cannot be written.
    """
    path = folder / LOCK
    if within and _is_ours(_read(path)):
        yield
        return
    with atomic.writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        _claim(path)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(path, ended), daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        if _is_ours(_read(path)):
            path.unlink(missing_ok=True)


def _claim(path: pathlib.Path) -> None:
    mark = _our_mark()  # before, so that a kill hardly ever leaves an empty file
    try:
        with open(path, "x") as file:
            file.write(mark)
        return
    except FileExistsError:
        holder = _read(path)
    if _works(holder, path):
        raise _in_use(path, holder)
    atomic.atomic_write(path, _our_mark())
    time.sleep(_SETTLE_S)
    if not _is_ours(holder := _read(path)):
        raise _in_use(path, holder)


def _in_use(path: pathlib.Path, holder: dict) -> InputError:
    if not holder:
        return InputError(
            f"Another command has just started in {path.parent}. Wait until it ends, or, if none "
            f"runs, delete {path}."
        )
    return InputError(
        f"{path.parent} is in use by process {holder['pid']} on {holder['host']}, which last gave "
        f"a sign of life {max(0.0, time.time() - holder['beat']):.0f} s ago. Wait until it ends, "
        "stop it, or work in another folder."
    )


def _beat(path: pathlib.Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        holder = _read(path)
        if holder and not _is_ours(holder):
            print(
                f"\nhfpl_jax: Process {holder['pid']} on {holder['host']} has taken over "
                f"{path.parent}, as this one gave no sign of life for {STALE_S:.0f} s; "
                "this one stops.",
                file=sys.stderr,
            )
            sys.stderr.flush()
            os._exit(2)  # whatever this process still wrote would damage the other's work
        with contextlib.suppress(InputError):  # a full disk: the next beat may succeed
            atomic.atomic_write(path, _our_mark())


def _our_mark() -> str:
    pid = os.getpid()
    ours = {"host": platform.node(), "place": _place(), "pid": pid, "started": _start_of(pid)}
    return json.dumps({**ours, "beat": time.time()}) + "\n"


def _read(path: pathlib.Path) -> dict:
    """What the file says; {} if it is missing, damaged or not yet written."""
    kinds = {"host": str, "place": str, "pid": int, "started": str, "beat": (int, float)}
    try:
        mark = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(mark, dict) and all(isinstance(mark.get(k), t) for k, t in kinds.items())
    return mark if whole else {}


def _is_ours(holder: dict) -> bool:
    return bool(holder) and (holder["place"], holder["pid"], holder["started"]) == (
        _place(),
        os.getpid(),
        _start_of(os.getpid()),
    )


def _works(holder: dict, path: pathlib.Path) -> bool:
    """Whether the process that wrote the file still works."""
    if holder and holder["place"] == _place():
        return _runs(holder["pid"], holder["started"])
    with contextlib.suppress(FileNotFoundError):
        return time.time() - holder.get("beat", path.stat().st_mtime) <= STALE_S
    return False


def _place() -> str:
    """Where process numbers mean what they mean here: the machine since it was booted
    and, of a container, its own numbers.
    """
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _runs(pid: int, started: str) -> bool:
    """Whether the process of this number is the one that started then."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return _start_of(pid) in (started, "")


def _start_of(pid: int) -> str:
    """When a process started, in the system's words; "" if the system does not say."""
    if pathlib.Path("/proc/self/stat").exists():
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return ""
        state, *fields = stat.rpartition(")")[2].split()  # the name before may hold anything
        return "ended" if state in "ZX" else fields[18]
    asked = ["ps", "-o", "lstart=", "-p", str(pid)]
    told = subprocess.run(
        asked, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}, check=False
    )
    return told.stdout.strip()
