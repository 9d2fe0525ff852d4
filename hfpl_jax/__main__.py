"""The command: `python -m hfpl_jax --config=configs/quickstart.py --workdir=DIR`."""

import contextlib
import errno
import logging
import os
import pathlib
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to save while the imports take seconds

import jax

from hfpl_jax import command_line, pipeline
from hfpl_jax.errors import InputError
from hfpl_jax.recipe import load_recipe
from hfpl_jax.runtime import allocator, console, distributed, termination
from hfpl_jax.training.loop import TrainingDiverged

_LOG = logging.getLogger("hfpl_jax")

_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(arguments: Sequence[str]) -> None:
    """Runs the command; `arguments` do not hold the program's name."""
    console.set_up()
    with _failures_told():
        command = command_line.parse(arguments)
        if command is None:
            return
        allocator.keep_freed_memory()
        _make(command.workdir)
        if command.distributed or command.coordinator:
            distributed.start(command.coordinator, command.processes, command.process)
        elif reason := distributed.needs_distributed():
            raise InputError(
                f"{reason}, but not with --distributed: each would do all of the work in the same "
                "workdir."
            )
        _run(command)
    termination.nothing_left_to_save()


def _run(command: command_line.Command) -> None:
    config, workdir = command.config, command.workdir
    termination.listen()
    _find_devices()
    if not distributed.is_first():
        console.warn_only()
    jax.config.update(
        "jax_compilation_cache_dir",
        config.run.compilation_cache or os.fspath(workdir.absolute() / "compilation_cache"),
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
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


def _make(workdir: pathlib.Path) -> None:
    """Makes the workdir, or raises InputError where nothing can be written."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            pass
    except OSError as error:
        reason = "it is a file" if workdir.is_file() else error.strerror or error
        raise InputError(
            f"--workdir={workdir} cannot be written into: {reason}. Choose a folder of your own."
        ) from error


def _find_devices() -> None:
    """Raises InputError where JAX has nothing to compute on."""
    try:
        jax.devices()
    except RuntimeError as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        cure = (
            f"JAX_PLATFORMS={wanted} asks for what this machine or its JAX has not: unset it, or "
            "set it to cpu."
            if wanted
            else "Install JAX for this machine's devices, or set JAX_PLATFORMS=cpu."
        )
        raise InputError(f"JAX finds no device ({str(error).splitlines()[0]}). {cure}") from error


@contextlib.contextmanager
def _failures_told() -> Iterator[None]:
    """A sentence in place of a traceback for what the user can mend; a process never
    waits for others that have failed.
    """
    try:
        yield
    except termination.Stopped:
        print(
            "\nhfpl_jax: Stopped as asked, and saved. The same command goes on from here.",
            file=sys.stderr,
        )
        distributed.leave_together(termination.exit_status())
    except Exception as error:
        if sentence := _for_the_user(error):
            print(f"\nhfpl_jax: {sentence}", file=sys.stderr)
            distributed.leave(2)
        if not distributed.several():
            raise
        traceback.print_exc()
        if distributed.lost_another(error):
            print(
                "\nhfpl_jax: Another process of this run has failed, so this one stops; its own "
                "output says why.",
                file=sys.stderr,
            )
        distributed.leave(1)


def _for_the_user(error: Exception) -> str:
    """What she can do about an error; "" where it is a fault of the program."""
    if isinstance(error, InputError | TrainingDiverged):
        return str(error)
    if isinstance(error, OSError) and error.errno in _DISK_REFUSES:
        return (
            f"{error.filename or 'A file'} cannot be written: {error.strerror}. Free some space or "
            "choose another --workdir, then give the same command again."
        )
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return (
            f"The device has too little memory ({str(error).splitlines()[0]}). Lower batch_size or "
            "crop_size of the training, at inference config.run.cam_batch_size or the scales, or "
            "set config.run.shard_parameters=True on several devices."
        )
    return ""


if __name__ == "__main__":
    main(sys.argv[1:])
