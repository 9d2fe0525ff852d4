"""What a compiled program moves, read from its text: bytes from and to a device's memory,
and what the devices tell each other. A loop counts as often as it is run.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (\([^()]*(?:\([^()]*\)[^()]*)*\)|\S+) ")
_OPERATION = re.compile(r"([\w-]+)\((.*?)\)(?:, |$)")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^{}]*)\})?")
_WIDTHS = {"pred": 1, "bf16": 2}

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_NOTHING = frozenset(
    ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call")
)


@dataclasses.dataclass(frozen=True)
class Collective:
    """A message among the devices.

    Attributes:
      kind: one of `COLLECTIVES`.
      size: bytes of its result on a device.
      times: how often it is sent in a run of the program.
      purpose: the operation of the source that it comes from.
    """

    kind: str
    size: int
    times: int
    purpose: str


@dataclasses.dataclass(frozen=True)
class Moved:
    """Attributes:
    memory: bytes from and to the memory of one device.
    collectives: all of them.
    """

    memory: int
    collectives: tuple[Collective, ...]


@dataclasses.dataclass(frozen=True)
class _Line:
    name: str
    result: str
    operation: str
    operands: tuple[str, ...]
    text: str

    def attribute(self, name: str) -> str:
        found = re.search(rf"\b{name}=%?([\w.-]+)", self.text)
        return found[1] if found else ""


def moved(text: str) -> Moved:
    """Of the text of a program that is compiled for a TPU."""
    computations, entry = _parsed(text)
    memory, collectives = 0, []
    for line, times, within in _run(computations, entry, 1):
        memory += times * _memory(line, within)
        kind = line.operation.removesuffix("-start")
        if kind in COLLECTIVES:
            purpose = re.search(r'op_name="([^"]*)"', line.text)
            size = _size(_last(line.result) if kind != line.operation else line.result)
            collectives.append(Collective(kind, size, times, purpose[1] if purpose else ""))
    return Moved(memory, tuple(collectives))


def _parsed(text: str) -> tuple[dict[str, dict[str, _Line]], str]:
    """The lines of each computation by name, and the name of the one that is run."""
    computations: dict[str, dict[str, _Line]] = {}
    entry, lines = "", {}
    for row in text.splitlines():
        if found := _COMPUTATION.match(row):
            lines = computations.setdefault(found[1], {})
            entry = found[1] if row.startswith("ENTRY") else entry
        elif found := _INSTRUCTION.match(row):
            rest = row[found.end() :]
            if operation := _OPERATION.match(rest):
                operands = tuple(re.findall(r"%([\w.-]+)", operation[2]))
                lines[found[1]] = _Line(found[1], found[2], operation[1], operands, row)
    return computations, entry


def _run(
    computations: Mapping[str, Mapping[str, _Line]], name: str, times: int
) -> Iterator[tuple[_Line, int, Mapping[str, _Line]]]:
    """Every line that is run, how often, and its computation."""
    lines = computations.get(name, {})
    for line in lines.values():
        yield line, times, lines
        if line.operation == "while":
            trips = _trips(computations.get(line.attribute("condition"), {}))
            yield from _run(computations, line.attribute("body"), times * trips)
        elif line.operation == "call":
            yield from _run(computations, line.attribute("to_apply"), times)
        elif line.operation == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", line.text)
            for branch in re.findall(r"%([\w.-]+)", branches[1] if branches else "")[:1]:
                yield from _run(computations, branch, times)


def _trips(condition: Mapping[str, _Line]) -> int:
    """A loop of `jax.lax.scan` counts from 0 to the constant in its condition."""
    limits = (re.search(r" constant\((\d+)\)", line.text) for line in condition.values())
    return max((int(limit[1]) for limit in limits if limit), default=1)


def _memory(line: _Line, within: Mapping[str, _Line]) -> int:
    """Bytes that it reads and writes; what it starts has read, what it ends has written."""
    if line.operation in _NOTHING:
        return 0
    read = sum(_size(within[name].result, far=True) for name in line.operands if name in within)
    if line.operation.endswith("-start"):
        return read
    written = _size(line.result, far=True)
    return written if line.operation.endswith("-done") else read + written


def _last(result: str) -> str:
    """The result among the parts of what a started message holds: operand, result, ..."""
    arrays = list(_ARRAY.finditer(result))
    return arrays[min(1, len(arrays) - 1)][0] if arrays else ""


def _size(result: str, *, far: bool = False) -> int:
    """Bytes of all arrays of a result; `far`: of those in the device's large memory, which
    have no space of their own, S(1), in their layout.
    """
    return sum(
        _width(kind) * math.prod(int(side) for side in sides.split(",") if side)
        for kind, sides, layout in _ARRAY.findall(result)
        if not (far and "S(" in layout)
    )


def _width(kind: str) -> int:
    if kind in _WIDTHS:
        return _WIDTHS[kind]
    bits = re.search(r"\d+", kind)
    return max(1, int(bits[0]) // 8) if bits else 0
