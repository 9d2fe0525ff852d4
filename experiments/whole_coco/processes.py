"""A command as several processes of one run, watched while they work."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

PROCESSES = 2
SAMPLE_S = 0.05
_LOOK_S = 0.002  # at least, from one look whether the moment of a kill has come to the next
_REST = 20  # times as long as a look works: both cores are for the processes
_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A command ended otherwise than it should."""


class Sample(NamedTuple):
    """What was seen of the processes of a command at a moment.

    Attributes:
      stage: that they were in.
      seconds: since they were started.
      cpu_seconds: of all of them together, until now.
      memory: the resident bytes of each.
    """

    stage: str
    seconds: float
    cpu_seconds: float
    memory: tuple[int, ...]


def run(arguments: Sequence[str], log: pathlib.Path, stage: Callable[[], str]) -> list[Sample]:
    """`python -m hfpl_jax` with these arguments, to its end.

    Args:
      arguments: without those that say which of the processes one is.
      log: what the processes print goes into files of this name and their number.
      stage: says in which one they are.

    Raises:
      Failed: a process ended with another status than 0.
    """
    with _started(arguments, log) as processes:
        samples = _watched(processes, stage, lambda: False)
        if any(process.returncode for process in processes):
            raise Failed(f"{' '.join(arguments)} failed:\n{_said(log)}")
    return samples


def run_and_kill(
    arguments: Sequence[str], log: pathlib.Path, stage: Callable[[], str], when: Callable[[], bool]
) -> list[Sample]:
    """The same, but all its processes are killed (SIGKILL) as soon as `when()`.

    Raises:
      Failed: one had ended before.
    """
    with _started(arguments, log) as processes:
        samples = _watched(processes, stage, when)
        if any(process.poll() is not None for process in processes):
            raise Failed(f"{' '.join(arguments)} ended before it was killed:\n{_said(log)}")
        for process in processes:
            process.send_signal(signal.SIGKILL)
    return samples


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


def _watched(
    processes: Sequence[subprocess.Popen], stage: Callable[[], str], when: Callable[[], bool]
) -> list[Sample]:
    """Until one of them ends badly, all have ended, or `when()`."""
    began, looked = time.monotonic(), time.process_time()
    samples: list[Sample] = []
    ticks = [0] * len(processes)
    while not when():
        worked = time.process_time() - looked  # on a busy machine by the clock far longer
        statuses = [process.poll() for process in processes]
        if all(status is not None for status in statuses) or any(statuses):
            break
        if (now := time.monotonic() - began) >= SAMPLE_S * len(samples):
            seen = [_of_process(process.pid) for process in processes]
            ticks = [max(before, found) for before, (_, found) in zip(ticks, seen, strict=True)]
            memory = tuple(resident for resident, _ in seen)
            samples.append(Sample(stage(), now, sum(ticks) / _TICKS, memory))
        time.sleep(max(_LOOK_S, _REST * worked))
        looked = time.process_time()
    return samples


def _of_process(pid: int) -> tuple[int, int]:
    """Resident bytes, and the ticks of its CPU time; zero of one that has ended."""
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return 0, 0
    return _PAGE * pages, int(fields[11]) + int(fields[12])
