"""An export is written in parts, runs of consecutive pseudo-labels, which the processes
of a run divide among themselves.

All parts go into one staging folder that every process sees. Beside each lies a small
JSON file of what was written for its photographs, so that the first process, which
alone publishes, knows it of all.
"""

import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import jax

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


class Writer(Protocol):
    """One format, for one split. Every process makes its own, with the same arguments,
    before any writes.

    Attributes:
      path: what to open when the export is done.
    """

    path: pathlib.Path

    def write_part(
        self, folder: pathlib.Path, part: int, pseudo_labels: Iterable[PseudoLabel]
    ) -> list[tuple[str, Any]]:
        """Writes a part into `folder`, which may be missing; returns each
        pseudo-label's (file name, fact), a fact being JSON.
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
    writer: Writer, pseudo_labels: Sequence[PseudoLabel], staged: pathlib.Path, *, class_count: int
) -> None:
    """Writes this process's share of the parts into `staged`.

    Raises:
      InputError: see `check_name`, `check_classes` and `check_instances`; whatever
        `writer` raises.
    """
    parts = parts_of(len(pseudo_labels))
    mine = distributed.share(range(len(parts)))
    with Meter("export", sum(len(parts[part]) for part in mine)) as meter:
        for part in mine:
            facts = writer.write_part(
                _files(staged), part, _checked(pseudo_labels, parts[part], class_count, meter)
            )
            write_file(_facts(staged, part), json.dumps(facts).encode())


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
