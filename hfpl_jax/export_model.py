"""The command that makes a program of a trained network:

    python -m hfpl_jax.export_model --run=runs/mine --size=375,500 --output=model.stablehlo

Whoever has JAX runs it, on a CPU, a GPU or a TPU, without this library.
"""

import importlib.util
import json
import pathlib
import re
import signal
import sys
from collections.abc import Sequence

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to save

import jax
from absl import flags

import hfpl_jax
from hfpl_jax import program
from hfpl_jax.errors import InputError
from hfpl_jax.load_network import load
from hfpl_jax.model_file import CAM, SEGMENTATION
from hfpl_jax.portable import PLATFORMS, exported
from hfpl_jax.runtime import atomic, console
from hfpl_jax.trained import TrainedNetwork

_NAME = "hfpl_jax.export_model"
_USAGE = "--run=FOLDER --size=HEIGHT,WIDTH --output=FILE [--OPTION=VALUE ...]"


def main(arguments: Sequence[str]) -> None:
    """Runs the command; `arguments` do not hold the program's name."""
    console.set_up()
    with program.failures_told("--output", "Give a smaller --size."):
        options = _options()
        if any(argument in program.HELP for argument in arguments):
            print("\n".join([f"python -m {_NAME} {_USAGE}\n", *program.help_lines(options)]))
            return
        size, output = _parse(arguments, options)
        program.find_devices()
        export_model(load(options.run, options.network), size, output)
        megabytes = output.stat().st_size / 1e6
        print(f"Program: {output} ({megabytes:.1f} MB); {_beside(output)} says what it is.")


def export_model(network: TrainedNetwork, size: tuple[int, int], output: pathlib.Path) -> None:
    """Writes the program of `portable.exported`, and beside it a JSON file of what one
    has to know of it; raises what that raises.
    """
    made, model = exported(network, size), network.model
    described = {
        "images": f"uint8 [b, {size[0]}, {size[1]}, 3], RGB",
        "maps": f"float32 [b, {size[0]}, {size[1]}, {len(network.channels)}]",
        "channels": network.channels,
        "network": model.network,
        "threshold": model.threshold,
        "threshold_rule": model.threshold_rule,
        "platforms": PLATFORMS,
        "made_by": f"hfpl_jax {hfpl_jax.__version__}, JAX {jax.__version__}",
    }
    program.make_folder(output.parent, "--output")
    atomic.atomic_write(_beside(output), json.dumps(described, indent=2) + "\n")
    atomic.atomic_write(output, bytes(made.serialize()))


def _beside(output: pathlib.Path) -> pathlib.Path:
    return output.with_name(output.name + ".json")


def _options() -> flags.FlagValues:
    options = flags.FlagValues()
    flags.DEFINE_string("run", None, "Workdir of the run that trained the network.", options)
    flags.DEFINE_string(
        "size", None, "Height and width of the photographs, such as 375,500.", options
    )
    flags.DEFINE_string("output", None, "The file to make, such as model.stablehlo.", options)
    flags.DEFINE_string(
        "network",
        None,
        "segmentation for the final network, cam for the CAMs; the first if it was trained.",
        options,
    )
    return options


def _parse(
    arguments: Sequence[str], options: flags.FlagValues
) -> tuple[tuple[int, int], pathlib.Path]:
    """The size and the file. Raises InputError where an option is not what it should
    be.
    """
    if words := program.parse(arguments, options, _NAME):
        raise InputError(f"Unknown argument {words[0]!r}. Options start with two dashes.")
    for name, what in (
        ("run", "the workdir of a finished run"),
        ("size", "height and width of the photographs, such as 375,500"),
        ("output", "the file to make, such as model.stablehlo"),
    ):
        if not options[name].value:
            raise InputError(f"--{name} is missing: it names {what}.")
    program.check_choice(options, "network", (SEGMENTATION, CAM))
    sides = re.fullmatch(r"0*([1-9]\d{0,8}),0*([1-9]\d{0,8})", options.size, re.ASCII)
    if not sides:
        raise InputError(
            f"--size={options.size} must be two positive numbers, height and width in pixels, "
            "such as 375,500."
        )
    output = pathlib.Path(options.output)
    for path in (output, _beside(output)):
        if path.exists():
            raise InputError(
                f"--output={output} would replace {path}, which exists. Name another file, or "
                "delete that one."
            )
    if importlib.util.find_spec("flatbuffers") is None:
        raise InputError(
            "JAX writes and reads programs with the package flatbuffers, which is missing. "
            "Install it: pip install flatbuffers."
        )
    return (int(sides[1]), int(sides[2])), output


if __name__ == "__main__":
    main(sys.argv[1:])
