"""The answer to `--dry_run --topology=POD`, line by line as the programs are compiled."""

import re
from collections.abc import Collection, Iterator

import jax
from ml_collections import ConfigDict

from hfpl_jax.pipeline import stages_of
from hfpl_jax.precision import of_products
from hfpl_jax.runtime.progress import format_seconds
from hfpl_jax.section import value_of
from hfpl_jax.settings.whole import Settings
from hfpl_jax.stages import features
from hfpl_jax.topology.hlo import moved
from hfpl_jax.topology.pods import Pod
from hfpl_jax.topology.programs import Built, Program, programs_of
from hfpl_jax.topology.seconds import collectives_said, computed, rates_said
from hfpl_jax.topology.unread import Unread
from hfpl_jax.topology.work import work_of
from hfpl_jax.training.fit import memory_needed

_MINUTES = 1, 8
"""That a program takes to compile on two cores, from a small network's to SEAM's."""

_USED = re.compile(r"Used ([\d.]+)([KMGT])\w* of ([\d.]+)([KMGT])")
_REQUIRED = re.compile(r"\(([\d.]+)([KMGT])\w*\) exceeds available \w+ \(([\d.]+)([KMGT])")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def ask(config: ConfigDict, pod: Pod, stages: Collection[str]) -> Iterator[str]:
    """What the programs of the named stages take of a pod: first how long it will take to
    say so, then a paragraph for each program. No file is read or written.

    Raises:
      InputError: a value that no stage can work with; a batch that does not divide into
        the pod's devices.
    """
    Settings.of(config)
    programs = programs_of(config, stages)
    names = ", ".join(program.stage for program in programs)
    if not programs:
        yield f"None of the stages {', '.join(stages)} computes on a device."
        return
    fewest, most = (len(programs) * minutes for minutes in _MINUTES)
    yield (
        f"Compiling {len(programs)} programs ({names}) for {pod.name}, one after the other: "
        f"{fewest} to {most} minutes on two cores. --stages=NAME,... compiles fewer."
    )
    yield Unread.of(config.data).said(features.split_names(config))
    compiled = {program.stage for program in programs}
    first = [each for each in stages_of(config) if each.round == 1]
    on_devices = [each.name for each in first if each.traced(config)]
    if left := [name for name in on_devices if name in stages and name not in compiled]:
        yield f"Not looked at: {', '.join(left)}."
    if config.rounds > 1:
        yield f"The {config.rounds} rounds run the same programs."
    yield rates_said(pod)
    built = [_built(program, config, pod) for program in programs]
    for program, traced in zip(programs, built, strict=True):
        yield "\n" + "\n  ".join(answer(program, traced, config, pod))


def _built(program: Program, config: ConfigDict, pod: Pod) -> Built:
    with of_products(config.model.precision):
        return program.build(config, pod)


def answer(program: Program, built: Built, config: ConfigDict, pod: Pod) -> list[str]:
    """The lines on a program, which is compiled for them; one where it is too big."""
    try:
        compiled = built.traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return [f"{program.stage}: {_too_big(program, built, config, pod, str(error))}"]
    work, traffic = work_of(built.traced.jaxpr), moved(compiled.as_text())
    seconds, limit = computed(work, traffic, built.devices, pod)
    flops = work.products + work.others
    return [
        f"{program.stage}: {built.what}",
        f"{flops / 1e9:,.1f} GFLOP, {flops / built.devices / 1e9:,.1f} a device; "
        f"{traffic.memory / 1e6:,.0f} MB read and written in the memory of a device",
        f"{memory_needed(compiled) / 1e6:,.0f} MB of memory a device",
        collectives_said(traffic),
        f"computed, not measured: {seconds * 1e3:,.2f} ms ({limit}), {built.times:,.0f} times: "
        f"{format_seconds(seconds * built.times)}",
    ]


def _too_big(program: Program, built: Built, config: ConfigDict, pod: Pod, message: str) -> str:
    """A sentence with the batch size that fits, from a second compilation with the
    smallest there is: memory grows in proportion to the rest of the batch.
    """
    found = _USED.search(message) or _REQUIRED.search(message)
    said = f"{built.what} does not fit the memory of a device of {pod.name}"
    if not found:
        return f"{said} ({message.splitlines()[0]})."
    used, limit = (float(found[at]) * _UNITS[found[at + 1]] for at in (1, 3))
    said += f" ({used / 1e9:.1f} GB of {limit / 1e9:.1f} GB)"
    if not program.batch:
        return f"{said}: choose the algorithm lattice, which runs on the host."
    smallest, batch = built.unit, value_of(config, program.batch)
    less = "a smaller crop or scale, or config.run.shard_parameters=True"
    if batch <= smallest:
        return f"{said}, and there is no smaller batch: choose {less}."
    smaller = config.copy_and_resolve_references()
    smaller.update_from_flattened_dict({program.batch: smallest})
    try:
        least = memory_needed(_built(program, smaller, pod).traced.lower().compile())
    except jax.errors.JaxRuntimeError:
        return f"{said}, and the smallest batch of {smallest} does not either: choose {less}."
    each = max(used - least, 1) / (batch - smallest)
    fits = int(smallest + (limit - least) / each) // smallest * smallest
    fits = max(smallest, min(fits, batch - smallest))
    return (
        f"{said}; --config.{program.batch}={fits} fits, by the linear part of its memory "
        f"({least / 1e9:.2f} GB with {smallest}, as compiled, and {each / 1e6:,.0f} MB for each "
        "more)."
    )
