"""What every command of the library does the same way: it starts its processes, looks
for devices, and tells a failure in a sentence.
"""

import contextlib
import errno
import os
import pathlib
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Iterator, Sequence

import jax
from absl import flags

from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.runtime import distributed, termination
from hfpl_jax.training.loop import TrainingDiverged

HELP = ("--help", "-h", "--helpfull", "-help")

_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def define_processes(options: flags.FlagValues) -> None:
    """Options of a command that several processes may run together."""
    flags.DEFINE_bool(
        "distributed",
        False,
        "One of several processes that work on this run, on a TPU pod or under Slurm.",
        options,
    )
    flags.DEFINE_string(
        "coordinator", None, "HOST:PORT of process 0, where no cluster tells it.", options
    )
    flags.DEFINE_integer(
        "processes",
        None,
        "How many processes work on this run, where no cluster tells it.",
        flag_values=options,
    )
    flags.DEFINE_integer(
        "process",
        None,
        "Number of this process, from 0, where no cluster tells it.",
        flag_values=options,
    )


def parse(arguments: Sequence[str], options: flags.FlagValues, program: str) -> list[str]:
    """Reads the options of a command without a recipe; gives the words between them.

    Raises:
      InputError: an option is not what it should be.
    """
    try:
        return options([program, *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        hint = in_brackets(did_you_mean(error.flagname, list(options)))
        raise InputError(f"Unknown option --{error.flagname}{hint}; see --help.") from error
    except (flags.Error, ValueError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{said}. Correct that option; see --help.") from error


def check_choice(options: flags.FlagValues, name: str, choices: Sequence[str]) -> None:
    """Raises InputError where an option that was given is none of the choices."""
    value = options[name].value
    if value is not None and value not in choices:
        hint = in_brackets(did_you_mean(value, choices))
        raise InputError(f"--{name}={value} must be one of {', '.join(choices)}{hint}.")


def help_lines(options: flags.FlagValues) -> list[str]:
    """Each option with its meaning."""
    indent = " " * 6
    return [
        f"  --{name}\n"
        + textwrap.fill(options[name].help, 100, initial_indent=indent, subsequent_indent=indent)
        for name in options
    ]


def start_processes(
    together: bool,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    *,
    folder: str,
) -> None:
    """Joins the other processes, as the options say.

    Raises:
      InputError: there are others, but the options do not say so: each would do all of
        the work in the same `folder`, as the message calls it.
    """
    if together or coordinator:
        distributed.start(coordinator, processes, process)
    elif reason := distributed.needs_distributed():
        raise InputError(
            f"{reason}, but not with --distributed: each would do all of the work in the same "
            f"{folder}."
        )


def make_folder(folder: pathlib.Path, option: str) -> None:
    """Makes the folder that an option names, or raises InputError where nothing can be
    written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror or error
        raise InputError(
            f"{option}={folder} cannot be written into: {reason}. Choose a folder of your own."
        ) from error


def find_devices() -> None:
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
def failures_told(option: str, memory: str) -> Iterator[None]:
    """A sentence in place of a traceback for what the user can mend; a process never
    waits for others that have failed.

    Args:
      option: the command's option that names where it writes.
      memory: what to do where a device has too little.
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
        if sentence := _for_the_user(error, option, memory):
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


def _for_the_user(error: Exception, option: str, memory: str) -> str:
    """What she can do about an error; "" where it is a fault of the program."""
    if isinstance(error, InputError | TrainingDiverged):
        return str(error)
    if isinstance(error, OSError) and error.errno in _DISK_REFUSES:
        return (
            f"{error.filename or 'A file'} cannot be written: {error.strerror}. Free some space or "
            f"choose another {option}, then give the same command again."
        )
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return f"The device has too little memory ({str(error).splitlines()[0]}). {memory}"
    return ""
