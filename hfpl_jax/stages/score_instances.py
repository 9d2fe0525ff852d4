"""Scores the instances that were found in photographs whose true instances are known."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np

from hfpl_jax.data.dataset import Example
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance
from hfpl_jax.metrics.instance_precision import instance_precision
from hfpl_jax.metrics.pointing import pointing_counts
from hfpl_jax.metrics.tables import instance_metrics, instance_table

_LOG = logging.getLogger(__name__)


def found_instances(record: dict, example: Example) -> tuple[Instance, ...]:
    """The instances in a record of a photograph.

    Raises:
      InputError: one has another size, or its peak lies outside of the photograph.
    """
    found = tuple(Instance.decode(one) for one in record["instances"])
    height, width = example.height, example.width
    for one in found:
        row, column = one.peak or (0, 0)
        inside = 0 <= row < height and 0 <= column < width
        if one.segmentation["size"] != [height, width] or not inside:
            raise InputError(
                f"An instance of {example.file_name} is of another photograph: its mask has the "
                f"size {one.segmentation['size']} and its peak is {one.peak}, but the photograph "
                f"is {height} pixels high and {width} wide. Delete the folder instances in the "
                "workdir and run the command again."
            )
    return found


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
      InputError: see `found_instances`.
    """
    both = {
        example.file_name: (example.instances, found_instances(record, example))
        for record, example in pairs
        if example.instances is not None
    }
    if not both:
        _LOG.info("%s: no true instances are known, so nothing is scored.", prefix)
        return {}
    count = len(class_names)
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
