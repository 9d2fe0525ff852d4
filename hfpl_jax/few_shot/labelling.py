"""Labels for photographs that nobody has labelled, each that of the nearest prototype of
a handful of examples.
"""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from hfpl_jax.data.name_checks import BACKGROUND
from hfpl_jax.errors import InputError
from hfpl_jax.few_shot.examples import Labelled
from hfpl_jax.losses.few_shot import mean_prototypes, prototype_logits
from hfpl_jax.runtime import atomic
from hfpl_jax.shapes import Float, Int, typed

_AT_ONCE = 256
"""Photographs whose distances to all prototypes are held."""


def check_examples(path: pathlib.Path, examples: Labelled) -> None:
    """Raises InputError where no prototype can be made of an example, or for a class."""
    if examples.several:
        raise InputError(
            f"{path} gives {examples.several[0]} several labels, but an example shows one class: "
            "the mean of its features would stand for neither. Choose a photograph that shows one "
            f"alone, or leave the row out ({len(examples.several)} such rows)."
        )
    if missing := [name for name, count in examples.counts.items() if not count]:
        raise InputError(
            f"{path} has no example of {', '.join(missing)}. Add a photograph that shows it, or "
            "take it off the line of classes."
        )


@typed
def nearest_classes(
    features: Float[np.ndarray, "n k"],
    examples: Float[np.ndarray, "m k"],
    classes: Int[np.ndarray, "m"],
    count: int,
) -> Int[np.ndarray, "n"]:
    """Of each photograph the class whose prototype is the nearest."""
    prototypes = mean_prototypes(examples, classes, count)
    some = (features[at : at + _AT_ONCE] for at in range(0, len(features), _AT_ONCE))
    nearest = [np.argmax(prototype_logits(each, prototypes), axis=1) for each in some]
    return np.concatenate(nearest)


@typed
def known_again(
    examples: Float[np.ndarray, "m k"], classes: Int[np.ndarray, "m"], count: int
) -> tuple[int, int]:
    """(how many examples are nearest to their own class's prototype when that is made
    without them, of how many): of classes that have two examples or more.
    """
    tried = [place for place, each in enumerate(classes) if np.sum(classes == each) > 1]
    right = 0
    for place in tried:
        others = np.arange(len(classes)) != place
        found = nearest_classes(examples[[place]], examples[others], classes[others], count)
        right += int(found[0] == classes[place])
    return right, len(tried)


def write_labels(path: pathlib.Path, class_names: Sequence[str], labels: Mapping[str, str]) -> None:
    """A label file as `data=folder` takes it, whole or not at all.

    Args:
      class_names: of the line of classes, "background" left out.
      labels: of each photograph by name, its class or "background".
    """
    text = io.StringIO()
    text.write(f"# classes: {'; '.join(name for name in class_names if name != BACKGROUND)}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file_name", "labels"))
    writer.writerows(labels.items())
    atomic.atomic_write(path, text.getvalue())
