"""Seconds that are computed, not measured: from what a program computes and moves, and
what a chip's maker states, of which a program reaches a part.
"""

from hfpl_jax.topology.hlo import Moved
from hfpl_jax.topology.pods import Pod
from hfpl_jax.topology.work import Work

_OF_PEAK, _OF_BANDWIDTH, _OF_LINKS = 0.4, 0.8, 0.8
"""Parts that programs like these reach: experiments/notes/pods.md."""

_VECTOR = 32
"""A chip's matrix units do so many times what its vector units do."""


def rates_said(pod: Pod) -> str:
    chip = pod.chip
    return (
        f"Seconds are computed from {_OF_PEAK:.0%} of {chip.peak / 1e12:g} TFLOP/s (products; a "
        f"{_VECTOR}th of that for all else), {_OF_BANDWIDTH:.0%} of {chip.bandwidth / 1e9:,g} GB/s "
        f"of memory and {_OF_LINKS:.0%} of {chip.link / 1e9:,g} GB/s of links a chip, as its maker "
        "states them; none is measured, and data loading is not in them."
    )


def computed(work: Work, traffic: Moved, devices: int, pod: Pod) -> tuple[float, str]:
    """Seconds of one run of a program, and what limits it: what is computed and what is
    read and written go on at once, messages before or after.
    """
    chip = pod.chip
    rate = _OF_PEAK * chip.peak * devices
    parts = {
        "matrix units": work.occupied / rate,
        "vector units": work.others / (rate / _VECTOR),
        "memory": traffic.memory / (_OF_BANDWIDTH * chip.bandwidth),
    }
    limit = max(parts, key=lambda name: parts[name])
    messages = sum(
        each.times * _sent(each.kind, each.size, devices) for each in traffic.collectives
    ) / (_OF_LINKS * chip.link)
    limit = limit if parts[limit] >= messages else "links"
    return max(parts.values()) + messages, f"limited by {limit}"


def _sent(kind: str, size: int, devices: int) -> float:
    """Bytes that a device sends and receives, in a ring, for a result of this size."""
    others = 2.0 * size * (devices - 1) / devices
    if kind == "all-reduce":
        return 2.0 * others
    return others * devices if kind == "reduce-scatter" else others


def collectives_said(traffic: Moved) -> str:
    """How many there are of each kind, what they hold, and the largest."""
    kinds = dict.fromkeys(each.kind for each in traffic.collectives)
    said = []
    for kind in kinds:
        of_kind = [each for each in traffic.collectives if each.kind == kind]
        count = sum(each.times for each in of_kind)
        total = sum(each.times * each.size for each in of_kind) / 1e6
        largest = max(each.size for each in of_kind) / 1e6
        said.append(f"{count:,} {kind} of {total:,.2f} MB, the largest of {largest:,.2f} MB")
    return f"collectives: {'; '.join(said)}" if said else "no collectives"
