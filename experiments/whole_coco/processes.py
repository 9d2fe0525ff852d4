"""A command as several processes of one run, watched while they work."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

PROCESSES = 2
SAMPLE_S = 0.2
_LOOK_S = 0.002  # at least, from one look whether the moment of a kill has come to the next
_REST = 20  # times as long as a look takes: both cores are for the processes
_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A command ended otherwise than it should."""


@dataclasses.dataclass
class Watched:
    """What was seen of the processes of a command.

    Attributes:
      seconds: from their start to the end of the last.
      cpu_seconds: of all of them together.
      memory: the resident bytes of each process, in every `SAMPLE_S`, in their order.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: list[tuple[int, ...]] = dataclasses.field(default_factory=list)

    def peak_mb(self, share: float = 1.0) -> float:
        """Of the larger process, in the first `share` of the time."""
        first = self.memory[: max(1, round(share * len(self.memory)))]
        return max(map(max, first)) / 1e6


def run(arguments: Sequence[str], log: pathlib.Path) -> Watched:
    """`python -m hfpl_jax` with these arguments, to its end.

    Raises:
      Failed: a process ended with another status than 0.
    """
    with _started(arguments, log) as processes:
        watched = _watch(processes, lambda: False)
        if any(process.returncode for process in processes):
            raise Failed(f"{' '.join(arguments)} failed:\n{_said(log)}")
    return watched


def run_and_kill(arguments: Sequence[str], log: pathlib.Path, when: Callable[[], bool]) -> Watched:
    """The same, but all its processes are killed (SIGKILL) as soon as `when()`.

    Raises:
      Failed: they had ended before.
    """
    with _started(arguments, log) as processes:
        watched = _watch(processes, when)
        if any(process.poll() is not None for process in processes):
            raise Failed(f"{' '.join(arguments)} ended before it was killed:\n{_said(log)}")
        for process in processes:
            process.send_signal(signal.SIGKILL)
    return watched


def _logs(log: pathlib.Path) -> list[pathlib.Path]:
    return [log.with_name(f"{log.name}-{number}.txt") for number in range(PROCESSES)]


def _said(log: pathlib.Path) -> str:
    return "\n".join(path.read_text(errors="replace")[-2000:] for path in _logs(log))


@contextlib.contextmanager
def _started(arguments: Sequence[str], log: pathlib.Path) -> Iterator[list[subprocess.Popen]]:
    """None of them is left behind the block."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = [f"--coordinator=localhost:{port}", f"--processes={PROCESSES}"]
    command = [sys.executable, "-m", "hfpl_jax", *arguments, *together]
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        processes = []
        for number, path in enumerate(_logs(log)):
            output = stack.enter_context(open(path, "wb"))
            own = [*command, f"--process={number}"]
            process = subprocess.Popen(own, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def _watch(processes: Sequence[subprocess.Popen], when: Callable[[], bool]) -> Watched:
    """Until the first of them ends badly, all have ended, or `when()`."""
    began, watched, ticks = time.monotonic(), Watched(), [0] * len(processes)
    looked = began
    while not when():
        took = time.monotonic() - looked
        statuses = [process.poll() for process in processes]
        if all(status is not None for status in statuses) or any(statuses):
            break
        if time.monotonic() - began >= SAMPLE_S * len(watched.memory):
            seen = [_of_process(process.pid) for process in processes]
            watched.memory.append(tuple(resident for resident, _ in seen))
            ticks = [max(before, now) for before, (_, now) in zip(ticks, seen, strict=True)]
        time.sleep(max(_LOOK_S, _REST * took))
        looked = time.monotonic()
    watched.seconds, watched.cpu_seconds = time.monotonic() - began, sum(ticks) / _TICKS
    return watched


def _of_process(pid: int) -> tuple[int, int]:
    """Resident bytes, and the ticks of its CPU time; zero of one that has ended."""
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return 0, 0
    return _PAGE * pages, int(fields[11]) + int(fields[12])
