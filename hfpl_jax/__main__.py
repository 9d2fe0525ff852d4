"""The command: `python -m hfpl_jax --config=configs/quickstart.py --workdir=DIR`."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to save while the imports take seconds
if __name__ == "__main__":
    gc.disable()  # until the imports are made: of what they make, all stays

import jax

from hfpl_jax import command_line, pipeline, program, topology
from hfpl_jax.recipe import load_recipe
from hfpl_jax.runtime import allocator, console, distributed, termination

_LOG = logging.getLogger("hfpl_jax")

_LESS_MEMORY = (
    "Lower batch_size or crop_size of the training, at inference config.run.cam_batch_size or the "
    "scales, or set config.run.shard_parameters=True on several devices."
)


def main(arguments: Sequence[str]) -> None:
    """Runs the command; `arguments` do not hold the program's name."""
    console.set_up()
    with program.failures_told("--workdir", _LESS_MEMORY):
        command = command_line.parse(arguments)
        if command is None:
            return
        allocator.spare_memory()
        if command.topology:
            _ask(command)
            return
        program.make_folder(command.workdir, "--workdir")
        program.start_processes(
            command.distributed,
            command.coordinator,
            command.processes,
            command.process,
            folder="workdir",
        )
        _run(command)
    termination.nothing_left_to_save()


def _ask(command: command_line.Command) -> None:
    pod = topology.pod_of(command.topology)
    console.warn_only()
    config, recipe = command.config, load_recipe(command.recipe)
    for line in topology.ask(config, pod, pipeline.stages_asked(config, command.stages, recipe)):
        print(line, flush=True)


def _run(command: command_line.Command) -> None:
    config, workdir = command.config, command.workdir
    termination.listen()
    program.find_devices()
    if not distributed.is_first():
        console.warn_only()
    jax.config.update(
        "jax_compilation_cache_dir",
        config.run.compilation_cache or os.fspath(workdir.absolute() / "compilation_cache"),
    )
    _LOG.info(
        "JAX %s on %d %s devices of %d processes.",
        jax.__version__,
        jax.device_count(),
        jax.default_backend(),
        jax.process_count(),
    )
    recipe = load_recipe(command.recipe)
    if command.dry_run:
        text = pipeline.dry_run(config, workdir, recipe=recipe)
        if distributed.is_first():
            print(text)
        return
    notices = pipeline.run(config, workdir, command.stages, recipe=recipe).notices
    report = workdir / "report"
    if (report / "report.html").exists() and distributed.is_first():
        print(f"Report:  {report / 'report.html'}")
        for picture in sorted(report.glob("*.png")):
            print(f"Picture: {picture}")
    for notice in notices if distributed.is_first() else ():
        print(f"\nNotice: {notice}")


if __name__ == "__main__":
    gc.freeze()
    gc.enable()
    main(sys.argv[1:])
