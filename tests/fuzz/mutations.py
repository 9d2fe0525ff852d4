"""What can be wrong with a file, as strategies, and what no file may do to the
program.
"""

import contextlib
import copy
import math
import os
import pathlib
import re
import struct
import time
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hfpl_jax.errors import InputError

MOST_MEMORY, MOST_SECONDS = (
    300e6,
    10.0,
)  # bytes of memory and seconds of CPU; the files here have some kilobytes


def fuzz(cases: int):
    """`cases` examples, the same ones in every run; `tmp_path` is shared by them, as
    each writes its files anew.
    """
    return settings(
        max_examples=cases,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


_HUGE = [
    struct.pack(code, number)
    for code in ("<Q", ">I", "<I", ">H")
    for number in (0, 1, 2**15, 2**16 - 1)
]
_HUGE += [
    struct.pack(code, number) for code in ("<Q", ">I", "<I") for number in (2**31 - 1, 2**32 - 1)
]
_HUGE += [struct.pack("<Q", number) for number in (2**40, 2**63 - 1, 2**64 - 1)]
_TEXTS = [
    b"\xff\xfe",
    b"\x00",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b"\r",
    b"../",
    b"1e999",
    b"NaN",
    b"-1",
    b"9" * 30,
    b"[" * 3000,
    b'"',
]


@st.composite
def damaged(draw, whole: bytes, front: int = 64) -> bytes:
    """`whole` cut off, with flipped bits, with other bytes or huge sizes written into
    it; mostly in its first `front` bytes.
    """
    content = bytearray(whole)
    kind = draw(st.sampled_from(["cut", "flip", "number", "text", "double", "remove"]))
    if kind == "cut":
        return bytes(content[: draw(st.integers(0, len(content) - 1))])
    for _ in range(draw(st.integers(1, 8 if kind == "flip" else 2))):
        place = draw(
            st.integers(0, max(0, len(content) - 1))
            | st.integers(0, max(0, min(front, len(content)) - 1))
        )
        if kind == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "number":
            number = draw(st.sampled_from(_HUGE))
            content[place : place + len(number)] = number
        elif kind == "text":
            content[place : place + draw(st.integers(0, 8))] = draw(st.sampled_from(_TEXTS))
        elif kind == "double":
            content[place:place] = content[place : place + draw(st.integers(1, 60))]
        elif kind == "remove":
            del content[place : place + draw(st.integers(1, 60))]
    return bytes(content)


HOSTILE_NAMES = (
    "../../x.jpg", "a/../../../x.jpg", "..", "/etc/passwd", "//x.jpg",
    "..\\..\\x.jpg", "C:\\x.jpg", "C:x.jpg", "\\\\host\\share\\x.jpg", "", ".", "./",
    "a\0.jpg", "\0", "a\nb.jpg", "a\r.jpg", "a\x1b[2J.jpg", "a\u2028b.jpg",
    "\ud800.jpg", "\udcff.jpg",
    "x" * 300 + ".jpg", "x/" * 3000 + "x.jpg",
)  # fmt: skip
"""Names that must not be those of a file to write."""

HARMLESS_NAMES = (
    "~/x.jpg", "$HOME/x.jpg", "`x`.jpg", "-rf.jpg", "nul", "a b;c.jpg", "..a.jpg",
    "später\u202e.jpg", "<script>.jpg", "%2e%2e/x.jpg",
)  # fmt: skip
"""Names that look dangerous, and are those of files inside the folder."""

_VALUES = (
    None, True, -1, 2**31, 2**63, 10**400, 0.5, math.nan, math.inf,
    "", "x" * 5000, "\ud800", "\0", "../../x.jpg", [], {}, [[]], [None],
    [math.nan], [math.inf, 1, 2, 3, 4, 5], [1e9] * 8, [[0, 0, 1e12, 0, 0, 1e12]],
    {"size": [2**31, 2**31], "counts": [2**31]}, [[["deep"]]],
)  # fmt: skip


def _places(tree: Any, place: tuple = ()) -> Iterator[tuple]:
    yield place
    for key, content in (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    ):
        yield from _places(content, (*place, key))


@st.composite
def replaced(draw, whole: Any, values: tuple = _VALUES) -> Any:
    """A tree of dicts and lists with one of its parts removed, or replaced by something
    that does not belong there.
    """
    tree = {"": copy.deepcopy(whole)}
    place = ("", *draw(st.sampled_from(list(_places(whole)))))
    parent = tree
    for key in place[:-1]:
        parent = parent[key]
    if len(place) > 1 and draw(st.booleans()):
        del parent[place[-1]]
    else:
        parent[place[-1]] = draw(st.sampled_from(values))
    return tree[""]


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Fails if the block takes much memory or time."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak counts from here
    before, started = _peak_memory(), time.process_time()
    yield
    seconds, memory = time.process_time() - started, _peak_memory() - before
    assert seconds < MOST_SECONDS, f"{seconds:.1f} s of CPU"
    assert memory < MOST_MEMORY, f"{memory / 1e6:.0f} MB of memory"


def _peak_memory() -> int:
    with contextlib.suppress(OSError):
        return 1024 * int(
            re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]
        )
    return 0


_VERBS = (
    "add|check|choose|copy|correct|delete|describe|download|give|keep|name|put|remove|restore|"
    "save|separate|write"
)
_CURE = re.compile(rf"(?:[.:;?] |, or )(?:{_VERBS})\b| must be ", re.IGNORECASE)


def outcome(named: str | os.PathLike, call, *arguments, **options) -> Any:
    """What `call` returns, or the message of its InputError: one that names the file
    and a cure, and is short. All else is a failure.
    """
    with contained():
        try:
            return call(*arguments, **options)
        except InputError as error:
            message = str(error)
    assert os.fspath(named) in message, message
    assert _CURE.search(message), message
    assert " object at 0x" not in message, message
    assert len(message) < 20_000, message[:1000]
    return message


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (os.fspath(self.folder),)


def everything_in(folder: pathlib.Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, folders, files in os.walk(folder)
        for name in folders + files
    }
