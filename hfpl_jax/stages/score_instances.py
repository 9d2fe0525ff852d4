"""Scores the instances that were found in photographs whose true instances are known."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np

from hfpl_jax.data.dataset import Example
from hfpl_jax.data.index import Entry
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance, check_rle
from hfpl_jax.metrics.instance_precision import instance_precision
from hfpl_jax.metrics.pointing import pointing_counts
from hfpl_jax.metrics.tables import instance_metrics, instance_table

_LOG = logging.getLogger(__name__)


def found_instances(
    record: dict, example: Example | Entry, num_classes: int
) -> tuple[Instance, ...]:
    """The instances in a record of a photograph.

    Raises:
      InputError: the record is damaged, or of another photograph or other classes.
    """
    try:
        found = tuple(Instance.decode(one) for one in record["instances"])
        for one in found:
            _check(one, example.height, example.width, num_classes)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"The record of the instances of {example.file_name} is damaged or of another "
            f"photograph ({error}). Delete the folder instances in the workdir and run the "
            "command again."
        ) from error
    return found


def _check(one: Instance, height: int, width: int, num_classes: int) -> None:
    """Raises ValueError if an instance was not found on a photograph of this size."""
    if one.segmentation["size"] != [height, width]:
        raise ValueError(
            f"a mask has the size {one.segmentation['size']}, the photograph {[height, width]}"
        )
    if not 0 <= one.label < num_classes:
        raise ValueError(f"the label is {one.label}, but there are {num_classes} classes")
    if one.score is None:
        raise ValueError("an instance has no score")
    row, column = one.peak or (-1, -1)
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"the peak is {one.peak}, not in the photograph")


def _true_instances(example: Example) -> tuple[Instance, ...]:
    try:
        for one in example.instances or ():
            check_rle(one.segmentation)
    except ValueError as error:
        raise InputError(
            f"The true instances of {example.file_name} are damaged ({error}). Delete the folder "
            "of the prepared dataset and run the command again."
        ) from error
    return example.instances or ()


def score_instances(
    pairs: Iterable[tuple[dict, Example]], class_names: Sequence[str], prefix: str
) -> dict[str, float]:
    """`instance_metrics` of all photographs together, and prints their table; empty if
    no true instances are known.

    The average precision is no sum: one process has to see all photographs.

    Args:
      pairs: records with `instances`, each beside its photograph.
      class_names: the foreground classes.
      prefix: split and kind of instance, such as "val/instances".

    Raises:
      InputError: instances that are damaged; see `found_instances`.
    """
    count = len(class_names)
    both = {
        example.file_name: (_true_instances(example), found_instances(record, example, count))
        for record, example in pairs
        if example.instances is not None
    }
    if not both:
        _LOG.info("%s: no true instances are known, so nothing is scored.", prefix)
        return {}
    pointing = np.zeros((count, 2), np.int64)
    for true, found in both.values():
        pointing += pointing_counts(true, found, num_classes=count)
    figures = instance_metrics(
        prefix,
        class_names,
        precision=instance_precision(both, num_classes=count),
        pointing=pointing,
    )
    _LOG.info("%s", instance_table(figures, prefix, class_names))
    return figures
