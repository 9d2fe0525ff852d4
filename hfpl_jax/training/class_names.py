"""The classes a network predicts, kept beside its checkpoints: parameters alone do not
say which output is the cat.
"""

import json
import logging
import os
import pathlib
from collections.abc import Sequence

from hfpl_jax.errors import InputError
from hfpl_jax.runtime import atomic, distributed
from hfpl_jax.runtime.manifest import result_folder

_LOG = logging.getLogger(__name__)

FILE = "class_names.json"


def write_class_names(folder: pathlib.Path, names: Sequence[str]) -> None:
    """Into the folder of a training; nothing if it has no classes."""
    if names and distributed.is_first():
        atomic.atomic_write(folder / FILE, json.dumps(list(names), ensure_ascii=False) + "\n")


def check_class_names(folder: str | os.PathLike, names: Sequence[str], section: str) -> None:
    """Whether the training in `folder`, from which that of a configuration's section
    shall start, had the classes `names`.

    Raises:
      InputError: it had others, or in another order, or does not say which.
    """
    path, field = result_folder(folder) / FILE, f"config.{section}.init_from"
    try:
        theirs = json.loads(path.read_bytes())
    except FileNotFoundError:
        _LOG.warning(
            "%s = %s does not say which classes it was trained for (it has no %s): they must be "
            "the present ones, in this order: %s.",
            field,
            folder,
            FILE,
            ", ".join(names),
        )
        return
    except ValueError as error:
        raise InputError(
            f"{path} cannot be read ({error}). Train that run again, or empty {field}."
        ) from error
    if theirs == list(names):
        return
    if not isinstance(theirs, list) or len(theirs) != len(names):
        difference = f"it has {len(theirs)} classes, this dataset {len(names)}"
    else:
        number = next(i for i, name in enumerate(names) if theirs[i] != name)
        difference = f"its class {number + 1} is {theirs[number]!r}, here {names[number]!r}"
    raise InputError(
        f"{field} = {os.fspath(folder)!r} was trained for other classes: {difference}. Name a run "
        f"of the same classes in the same order, or empty {field}."
    )
