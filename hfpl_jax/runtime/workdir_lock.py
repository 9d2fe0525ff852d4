"""One command a workdir, or a folder of prepared data: a small file in it names the
process that works there, and a heartbeat says that it still does.

A killed process leaves its file behind. The next command takes the folder over: at once
where it can see that the process is gone, and on another machine when the heartbeat is
older than two minutes.

Of several that would take over, the one may that creates a file which must not be there
yet, named after the content that it replaces. It looks once more whether that content
is still there, replaces it, and deletes its claim. One that died before it did so has
left a claim that says who it was, and is succeeded in the same way.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator

from hfpl_jax.errors import InputError
from hfpl_jax.runtime import atomic

LOCK = "lock.json"

BEAT_S = 20.0
STALE_S = 120.0
"""A heartbeat from another machine that is older than this is a dead process's."""

WRITING_S = 10.0
"""A file without content that is older than this is one whose writer was killed."""

_MOST_TRIES = 100


@contextlib.contextmanager
def held(folder: pathlib.Path, *, within: bool = False) -> Iterator[None]:
    """The folder belongs to this process inside the block.

    Args:
      folder: made if it is missing.
      within: whether this process may hold it already, and goes on holding it then:
        data may be prepared in the workdir itself.

    Raises:
      InputError: another command works in it, or it cannot be written.
    """
    path = folder / LOCK
    if within and _is_ours(_holder(path)):
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
        if _is_ours(_holder(path)):
            _remove_leftovers(path)
            path.unlink(missing_ok=True)


def _remove_leftovers(path: pathlib.Path) -> None:
    """Of commands that were killed while they took the folder: files named after the
    mark, of which no other is of use while we hold it.
    """
    for left in path.parent.glob(f"{path.name}.*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > WRITING_S:
                left.unlink()


def _claim(path: pathlib.Path) -> None:
    """Writes our mark where there is none, or that of a process that works no more."""
    for _ in range(_MOST_TRIES):
        if _create(path, _our_mark()):
            return
        dead = _content(path)
        if dead is not None:
            _check_gone(path, dead)
            if _take_over(path, dead):
                return
        time.sleep(0.01)  # others came and went meanwhile
    raise _in_use(path, {})


def _take_over(path: pathlib.Path, dead: bytes) -> bool:
    """Writes our mark in place of this content; False if another has replaced it."""
    claims = [_claim_to(path, dead)]
    while not _create(claims[-1], _our_mark()):
        claimed = _content(claims[-1])
        if claimed is None:
            return False
        _check_gone(claims[-1], claimed)
        claims.append(_claim_to(path, claimed))
    try:
        if _content(path) != dead:
            return False
        _check_gone(path, dead)  # an empty file may be a new one
        atomic.atomic_write(path, _our_mark())
        return True
    finally:  # of no more use to anyone: their names come from a content that is gone
        for claim in claims:
            claim.unlink(missing_ok=True)


def _claim_to(path: pathlib.Path, content: bytes) -> pathlib.Path:
    return path.with_name(f"{path.name}.{hashlib.sha256(content).hexdigest()[:16]}")


def _create(path: pathlib.Path, mark: str) -> bool:
    """Whether the file was not there, and so could be made; whole, where the file
    system has hard links.
    """
    whole = path.with_name(f"{path.name}.{uuid.uuid4().hex}{atomic.TEMPORARY}")
    try:
        whole.write_text(mark)
        try:
            os.link(whole, path)
        except FileExistsError:
            raise
        except OSError:
            with open(path, "x") as file:
                file.write(mark)
    except FileExistsError:
        return False
    finally:
        whole.unlink(missing_ok=True)
    return True


def _check_gone(path: pathlib.Path, content: bytes) -> None:
    """Raises InputError if the process whose mark this is still works."""
    holder = _mark(content)
    if _works(holder, path):
        raise _in_use(path, holder)


def _in_use(path: pathlib.Path, holder: dict) -> InputError:
    if not holder:
        return InputError(
            f"Another command is starting in {path.parent}, or was killed while it did: {path} "
            f"does not say whose it is. Wait until the other ends or, if none runs, "
            f"{WRITING_S:.0f} s, and give the command again."
        )
    return InputError(
        f"{path.parent} is in use by process {holder['pid']} on {holder['host']}, which last gave "
        f"a sign of life {max(0.0, time.time() - holder['beat']):.0f} s ago. Wait until it ends, "
        "stop it, or work in another folder."
    )


def _beat(path: pathlib.Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        holder = _holder(path)
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


def _content(path: pathlib.Path) -> bytes | None:
    """None if the file is missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _holder(path: pathlib.Path) -> dict:
    """What a file says; {} if it cannot be read at the moment."""
    with contextlib.suppress(OSError):
        return _mark(_content(path) or b"")
    return {}


def _mark(content: bytes) -> dict:
    """What the content of a file says; {} if it is damaged or not yet written."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "host": str,
        "place": str,
        "pid": int,
        "started": str,
        "beat": (int, float),
    }
    try:
        mark = json.loads(content)
    except (ValueError, RecursionError):
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
    if holder:
        return time.time() - holder["beat"] <= STALE_S
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime <= WRITING_S
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
