"""The command for classes of which there is a handful of photographs each:

    python -m hfpl_jax.few_shot label --photographs=PHOTOS --examples=examples.csv \
        --run=runs/mine --output=PHOTOS/labels.csv

labels all others in the folder, each with the class whose examples it resembles most;

    python -m hfpl_jax.few_shot accuracy --photographs=PHOTOS --labels=PHOTOS/labels.csv \
        --weights=resnet50.safetensors

says how well that goes, on photographs whose labels are known.
"""

import collections
import json
import logging
import pathlib
import signal
import sys
from collections.abc import Sequence
from typing import Any

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to save

import numpy as np
from absl import flags

from hfpl_jax import program
from hfpl_jax.data.photograph_files import Listing, list_photographs
from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.few_shot.episodes import episode_accuracy, usable_classes
from hfpl_jax.few_shot.examples import read_labelled
from hfpl_jax.few_shot.labelling import (
    check_examples,
    known_again,
    nearest_classes,
    write_labels,
)
from hfpl_jax.few_shot.network import Looks, of_file, of_run
from hfpl_jax.runtime import allocator, atomic, console

_LOG = logging.getLogger("hfpl_jax")

_NAME = "hfpl_jax.few_shot"
_USAGE = "label|accuracy --photographs=FOLDER (--run=FOLDER | --weights=FILE) [--OPTION=VALUE ...]"
_WORDS = {"label": ("examples", "output"), "accuracy": ("labels",)}
"""What is done -> the options that it needs beside the folder and the network."""
SHOTS = (1, 5)


def main(arguments: Sequence[str]) -> None:
    """Runs the command; `arguments` do not hold the program's name."""
    console.set_up()
    with program.failures_told("--output", "Lower --batch_size."):
        options = all_options()
        if any(argument in program.HELP for argument in arguments):
            print("\n".join([f"python -m {_NAME} {_USAGE}\n", *program.help_lines(options)]))
            return
        word = parse(arguments, options)
        allocator.spare_memory()
        program.find_devices()
        {"label": _label, "accuracy": _accuracy}[word](options)


def _label(options: flags.FlagValues) -> None:
    root, path = pathlib.Path(options.photographs).absolute(), pathlib.Path(options.examples)
    examples, listing = read_labelled(path, root), list_photographs([options.photographs])
    check_examples(path, examples)
    looks = _looks(options)
    features = dict(zip(listing.names, looks.features(listing), strict=True))
    known = np.stack([features[name] for name in examples.classes])
    classes = np.asarray(list(examples.classes.values()))
    names = examples.class_names
    found = nearest_classes(np.stack(list(features.values())), known, classes, len(names))
    labels = {
        name: names[examples.classes.get(name, place)]
        for name, place in zip(listing.names, found.tolist(), strict=True)
    }
    output = pathlib.Path(options.output)
    write_labels(output, names, labels)
    new = collections.Counter(
        label for name, label in labels.items() if name not in examples.classes
    )
    shown = ", ".join(f"{new[name]} {name}" for name in names)
    right, tried = known_again(known, classes, len(names))
    print(f"Labels:   {output}: {len(classes)} examples, and of {sum(new.values())} others {shown}")
    if tried:
        print(f"Examples: {right} of {tried} are known again by the others of their classes")
    print(
        "\nNotice: A prototype gives each photograph the one class that it resembles most: of one "
        "that shows several it names one, and a training takes the others for absent. Look "
        "through the file before you train on it."
    )


def measure(options: flags.FlagValues) -> dict[str, Any]:
    """What `accuracy` finds, for people and programs."""
    root = pathlib.Path(options.photographs).absolute()
    labelled = read_labelled(pathlib.Path(options.labels), root)
    asked = {"ways": options.ways, "queries": options.queries}
    usable, short = usable_classes(labelled.counts, shots=max(SHOTS), **asked)
    if short:
        _LOG.info("Too few photographs, so left out: %s.", _counted(short))
    if labelled.several:
        _LOG.info("%d photographs that show several classes are left out.", len(labelled.several))
    kept = {name: place for name, place in labelled.classes.items() if place in usable}
    listing = Listing(root, tuple(sorted(kept)), ())
    looks = _looks(options)
    features = looks.features(listing)
    classes = np.asarray([kept[name] for name in listing.names])
    drawn = {**asked, "episodes": options.episodes, "seed": options.seed}
    found = {
        shots: episode_accuracy(features, classes, usable, shots=shots, **drawn) for shots in SHOTS
    }
    return {
        **drawn,
        "network": looks.said,
        "photographs": len(kept),
        "classes": [labelled.class_names[place] for place in usable],
        "too_few": short,
        "several": len(labelled.several),
        "accuracy": {str(shots): each._asdict() for shots, each in found.items()},
    }


def _accuracy(options: flags.FlagValues) -> None:
    found = measure(options)
    print(f"{found['network']}: {found['photographs']} photographs, {', '.join(found['classes'])}")
    for shots, accuracy in found["accuracy"].items():
        print(
            f"{shots}-shot accuracy of {options.ways} classes: {100 * accuracy['mean']:.1f} ± "
            f"{100 * accuracy['interval']:.1f} % ({options.episodes} episodes, 95 % interval)"
        )
    print(
        f"{found['several']} photographs that show several classes were left out: a prototype "
        "names one class, so nothing is said of them."
    )
    if options.output:
        atomic.atomic_write(pathlib.Path(options.output), json.dumps(found, indent=2) + "\n")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _looks(options: flags.FlagValues) -> Looks:
    shared = {"long_side": options.long_side, "batch_size": options.batch_size}
    if options.run:
        return of_run(options.run, **shared)
    return of_file(options.weights, options.backbone, options.setting, **shared)


def all_options() -> flags.FlagValues:
    options = flags.FlagValues()
    flags.DEFINE_string("photographs", None, "The folder of the photographs.", options)
    flags.DEFINE_string(
        "examples",
        None,
        "Of label: a CSV or JSON file of the photographs whose class is known, one each.",
        options,
    )
    flags.DEFINE_string(
        "labels", None, "Of accuracy: a CSV or JSON file of all labels of the folder.", options
    )
    flags.DEFINE_string(
        "run",
        None,
        "A finished run, whose classifier's backbone looks at the photographs; or the folder of "
        "one training, such as runs/mine/pretrain.",
        options,
    )
    flags.DEFINE_string(
        "weights", None, 'In place of --run: a weight file, or "random" to compare with.', options
    )
    flags.DEFINE_string("backbone", "resnet50", "Of --weights.", options)
    flags.DEFINE_multi_string(
        "setting", [], "Of --backbone: NAME=VALUE, such as version=v1.", flag_values=options
    )
    flags.DEFINE_string(
        "output", None, "The file to write: of label labels.csv, of accuracy a JSON file.", options
    )
    numbers = (
        ("ways", 5, 2, "Of accuracy: classes in an episode."),
        ("queries", 15, 1, "Of accuracy: photographs of each class that are asked about."),
        ("episodes", 1000, 2, "Of accuracy."),
        ("seed", 0, 0, "Of the episodes."),
        ("long_side", None, 0, "Pixels at which photographs are seen, 0 for their own size."),
        ("batch_size", 16, 1, "Photographs."),
    )
    for name, default, least, help_ in numbers:
        flags.DEFINE_integer(name, default, help_, lower_bound=least, flag_values=options)
    return options


def parse(arguments: Sequence[str], options: flags.FlagValues) -> str:
    """The word. Raises InputError where an option is not what it should be."""
    words = program.parse(arguments, options, _NAME)
    if not words or words[0] not in _WORDS:
        given = words[0] if words else ""
        hint = in_brackets(did_you_mean(given, _WORDS))
        raise InputError(f"The first word is {given!r}: write {' or '.join(_WORDS)}{hint}.")
    if words[1:]:
        raise InputError(f"Unknown argument {words[1]!r}. Options start with two dashes.")
    for name in ("photographs", *_WORDS[words[0]]):
        if not options[name].value:
            meaning = options[name].help.rstrip(".")
            raise InputError(f"--{name} is missing. {meaning}.")
    for other, names in _WORDS.items():
        for name in set(names) - set(_WORDS[words[0]]) - {"output"}:
            if options[name].value:
                raise InputError(f"--{name} is an option of {other}. Leave it out.")
    if bool(options.run) == bool(options.weights):
        raise InputError(
            "Give one of --run, a finished run, and --weights, a weight file: it is what looks at "
            "the photographs."
        )
    if not pathlib.Path(options.photographs).is_dir():
        raise InputError(f"--photographs={options.photographs} is no folder. Correct the path.")
    if options.output:
        output = pathlib.Path(options.output)
        if output.exists():
            raise InputError(
                f"--output={output} exists. Name another file, or delete that one: labels that a "
                "person wrote are not replaced."
            )
        program.make_folder(output.parent, "--output")
    return words[0]


if __name__ == "__main__":
    main(sys.argv[1:])
