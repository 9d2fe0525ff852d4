"""An export is written in parts, runs of consecutive pseudo-labels, which the processes
of a run divide among themselves. Several formats are written in one pass.

All parts of a format go into one staging folder that every process sees. Beside each
lies a small JSON file of what was written for its photographs, so that the first
process, which alone publishes, knows it of all.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import jax
import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.export.pseudo_label import (
    PseudoLabel,
    check_classes,
    check_instances,
    check_name,
)
from hfpl_jax.export.staging import write_file
from hfpl_jax.runtime import distributed
from hfpl_jax.runtime.progress import Meter

IMAGES_PER_PART = (
    1024  # as a shard 100 to 200 MB with photographs of VOC's and COCO's size, as TFDS recommends
)

Write = Callable[[PseudoLabel], Any]


@dataclasses.dataclass(frozen=True)
class Split:
    """What is exported.

    Attributes:
      name: of the split.
      class_names: the foreground classes.
      first: its first pseudo-label, which says what the others have.
      total: how many there are.
      palette: the colours of masks in PNGs; None for grey ones.
    """

    name: str
    class_names: Sequence[str]
    first: PseudoLabel
    total: int
    palette: np.ndarray | None


class Writer(Protocol):
    """One format, for one split. Every process makes its own, with the same arguments,
    before any writes.

    Attributes:
      path: what to open when the export is done.
    """

    path: pathlib.Path

    def part(self, folder: pathlib.Path, part: int) -> AbstractContextManager[Write]:
        """Opens a part in `folder`, which may be missing, for the block; yields what
        writes one pseudo-label into it and returns its fact, which is JSON.
        """

    def publish(self, folder: pathlib.Path, facts: dict[str, Any]) -> None:
        """Puts all the parts in `folder` into their place; `facts` are those of the
        whole split, in its order, by file name.
        """


def parts_of(total: int) -> list[range]:
    """The positions in each part: at most IMAGES_PER_PART, in parts of like length, and
    equally many of these for each process.
    """
    processes = jax.process_count()
    count = min(total, processes * -(-total // (processes * IMAGES_PER_PART)))
    return [range(total * part // count, total * (part + 1) // count) for part in range(count)]


def write_parts(
    writers: Mapping[pathlib.Path, Writer],
    pseudo_labels: Sequence[PseudoLabel],
    *,
    class_count: int,
) -> None:
    """Writes this process's share of the parts, of each writer into its staging folder;
    each pseudo-label is asked for once.

    Raises:
      InputError: see `check_name`, `check_classes` and `check_instances`; whatever
        a writer raises.
    """
    parts = parts_of(len(pseudo_labels))
    mine = distributed.share(range(len(parts)))
    with Meter("export", sum(len(parts[part]) for part in mine)) as meter:
        for part in mine:
            facts: dict[pathlib.Path, list] = {staged: [] for staged in writers}
            with contextlib.ExitStack() as stack:
                writes = {
                    staged: stack.enter_context(writer.part(_files(staged), part))
                    for staged, writer in writers.items()
                }
                for one in _checked(pseudo_labels, parts[part], class_count, meter):
                    for staged, write in writes.items():
                        facts[staged].append((one.file_name, write(one)))
            for staged, of_part in facts.items():
                write_file(_facts(staged, part), json.dumps(of_part).encode())


def publish_parts(writer: Writer, staged: pathlib.Path, *, total: int) -> None:
    """Publishes the parts that all processes together have written of `total`
    pseudo-labels; for one of them to call.

    Raises:
      InputError: a photograph has two pseudo-labels; whatever `writer` raises.
    """
    facts = {}
    for part in range(len(parts_of(total))):
        for name, fact in json.loads(_facts(staged, part).read_bytes()):
            if name in facts:
                raise InputError(
                    f"{name!r} has two pseudo-labels. Delete the records of the stage that makes "
                    "them and run it again."
                )
            facts[name] = fact
    writer.publish(_files(staged), facts)


def _files(staged: pathlib.Path) -> pathlib.Path:
    return staged / "files"


def _facts(staged: pathlib.Path, part: int) -> pathlib.Path:
    return staged / f"facts-{part:05d}.json"


def _checked(
    pseudo_labels: Sequence[PseudoLabel], positions: range, class_count: int, meter: Meter
) -> Iterator[PseudoLabel]:
    for position in positions:
        pseudo_label = pseudo_labels[position]
        check_name(pseudo_label)
        check_classes(pseudo_label, class_count)
        check_instances(pseudo_label)
        yield pseudo_label
        meter.advance()
