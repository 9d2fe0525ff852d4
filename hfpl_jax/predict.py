"""The command for new photographs:

    python -m hfpl_jax.predict --run=runs/mine --photographs=DIR --output=MASKS

writes a mask and its confidence for each. It needs the folder of the run's training
alone: neither the configuration, nor the dataset, nor a weight file.
"""

import logging
import pathlib
import signal
import sys
from collections.abc import Sequence

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to save while the imports take seconds

import jax
from absl import flags

from hfpl_jax import program
from hfpl_jax.data.given_labels import given_classes
from hfpl_jax.data.photograph_files import list_photographs
from hfpl_jax.errors import InputError
from hfpl_jax.export import FORMATS
from hfpl_jax.label_photographs import label_photographs
from hfpl_jax.load_network import load
from hfpl_jax.metrics.class_cut import CUTS
from hfpl_jax.model_file import CAM, FILE, SEGMENTATION
from hfpl_jax.runtime import allocator, console, distributed, termination
from hfpl_jax.trained import TrainedClassifier, TrainedNetwork

_LOG = logging.getLogger("hfpl_jax")

_NAME = "hfpl_jax.predict"
_USAGE = "--run=FOLDER --photographs=FOLDER_OR_FILE ... --output=FOLDER [--OPTION=VALUE ...]"
_CRF = "crf"


def main(arguments: Sequence[str]) -> None:
    """Runs the command; `arguments` do not hold the program's name."""
    console.set_up()
    with program.failures_told("--output", "Lower --batch_size."):
        options = _options()
        if any(argument in program.HELP for argument in arguments):
            print("\n".join([f"python -m {_NAME} {_USAGE}\n", *program.help_lines(options)]))
            return
        _parse(arguments, options)
        allocator.spare_memory()
        program.start_processes(
            options.distributed,
            options.coordinator,
            options.processes,
            options.process,
            folder="folder",
        )
        _run(options)
    termination.nothing_left_to_save()


def _run(options: flags.FlagValues) -> None:
    termination.listen()
    program.find_devices()
    if not distributed.is_first():
        console.warn_only()
    output = pathlib.Path(options.output)
    _check_apart(output, options.photographs)
    listing = list_photographs(options.photographs)
    network = load(options.run, options.network, batch_size=options.batch_size)
    classifier = _classifier(options, network) if options.instances else None
    labels = None
    if options.labels:
        labels = given_classes(pathlib.Path(options.labels), listing, network.class_names)
    program.make_folder(output, "--output")
    _LOG.info(
        "%d photographs, the %s network in %s, %d %s devices of %d processes.",
        len(listing.names),
        network.model.network,
        network.folder,
        jax.device_count(),
        jax.default_backend(),
        jax.process_count(),
    )
    if listing.others:
        shown = listing.others[0]
        _LOG.info("%d other files are left out, such as %s.", len(listing.others), shown)
    made = label_photographs(
        network,
        listing,
        output,
        format=options.format,
        labels=labels,
        refine=options.refine == _CRF,
        instances=classifier,
        skip_unreadable=options.skip_unreadable,
    )
    if distributed.is_first():
        print(f"Masks:   {made['path']}")
        for notice in _notices(network, labels is not None):
            print(f"\nNotice: {notice}")


def _classifier(options: flags.FlagValues, network: TrainedNetwork) -> TrainedClassifier:
    """The network by whose peaks instances are found.

    Raises:
      InputError: a format without instances; a run that does not look for them.
    """
    if not FORMATS[options.format].instances:
        others = ", ".join(name for name, format in FORMATS.items() if format.instances)
        raise InputError(f"--format={options.format} holds no instances. Choose one of {others}.")
    if not isinstance(network, TrainedClassifier):
        network = load(options.run, CAM, batch_size=options.batch_size)
    assert isinstance(network, TrainedClassifier)
    if network.peaks is None:
        raise InputError(
            f"{network.folder / FILE} says that its run looks for no instances. Leave --instances "
            "out, or give the command of the run again with --config.instances.enabled=True."
        )
    return network


def _check_apart(output: pathlib.Path, photographs: Sequence[str]) -> None:
    """Raises InputError where the next call would take masks for photographs."""
    for path in map(pathlib.Path, photographs):
        if path.is_dir() and output.absolute().is_relative_to(path.absolute()):
            raise InputError(
                f"--output={output} lies in --photographs={path}, whose next reading would take "
                "the masks for photographs. Name a folder outside of it."
            )


def _notices(network: TrainedNetwork, given: bool) -> list[str]:
    """What to know before one trusts the masks."""
    model = network.model
    if given or model.network != CAM:
        return []
    assert model.threshold is not None
    assert model.class_cut is not None
    assert model.class_cut_f1 is not None
    notice = (
        f"The background threshold {model.threshold:.2f} ({model.threshold_rule}) belongs to "
        f"CAMs of {model.image_labels}. Here nobody says what a photograph shows: its classes are "
        f"those with a probability above {model.class_cut:.2f}, which finds the labels of training "
        f"photographs with an F1 of {model.class_cut_f1:.2f}. Give --labels where there are some."
    )
    if model.class_cut in (CUTS[0], CUTS[-1]):
        notice += " That cut is at an end of the range: the network hardly distinguishes classes."
    return [notice]


def _options() -> flags.FlagValues:
    options = flags.FlagValues()
    flags.DEFINE_string("run", None, "Workdir of the run that trained the network.", options)
    flags.DEFINE_multi_string(
        "photographs",
        [],
        "A folder, with all that is below it, or a file; JPEG or PNG. May be given several times, "
        "and followed by more files.",
        flag_values=options,
    )
    flags.DEFINE_string(
        "output", None, "Folder for the masks: made if missing, resumed if begun.", options
    )
    flags.DEFINE_string("format", "png", f"One of {', '.join(FORMATS)}.", options)
    flags.DEFINE_string(
        "labels",
        None,
        "A CSV or JSON file of what each photograph shows, as for the training of one's own "
        "photographs; the masks then hold these classes alone.",
        options,
    )
    flags.DEFINE_string(
        "network",
        None,
        "segmentation for the final network, cam for the CAMs; the first if it was trained.",
        options,
    )
    flags.DEFINE_string(
        "refine", None, "crf sharpens the masks with the CRF of the run's settings.", options
    )
    flags.DEFINE_bool(
        "instances",
        False,
        "Instances among the regions of the masks too, by the peaks of the run's classifier.",
        options,
    )
    flags.DEFINE_bool(
        "skip_unreadable",
        False,
        "Leave out what cannot be read, and list it in OUTPUT/skipped.jsonl.",
        options,
    )
    flags.DEFINE_integer(
        "batch_size", None, "Photographs; that of the run if not given.", flag_values=options
    )
    program.define_processes(options)
    return options


def _parse(arguments: Sequence[str], options: flags.FlagValues) -> None:
    """Raises InputError where an option is not what it should be."""
    words = program.parse(arguments, options, _NAME)
    if words and not options.photographs:
        raise InputError(f"Unknown argument {words[0]!r}. Options start with two dashes.")
    options.photographs = [*options.photographs, *words]
    for name, what in (
        ("run", "the workdir of a finished run"),
        ("photographs", "a folder of photographs, or files"),
        ("output", "the folder for the masks"),
    ):
        if not options[name].value:
            raise InputError(f"--{name} is missing: it names {what}.")
    program.check_choice(options, "format", FORMATS)
    program.check_choice(options, "network", (SEGMENTATION, CAM))
    program.check_choice(options, "refine", (_CRF,))
    if options.batch_size is not None and options.batch_size < 1:
        raise InputError(f"--batch_size={options.batch_size} must be at least 1.")


if __name__ == "__main__":
    main(sys.argv[1:])
