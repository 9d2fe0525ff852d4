"""Whether masks mean what the program takes them for: the classes in one should be
among the labels of its photograph.
"""

import dataclasses
import json
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from hfpl_jax.data.example import Example, decode_mask
from hfpl_jax.data.json_lines import append_line
from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE

_LOG = logging.getLogger(__name__)

MISMATCHES_FILE = "mask_mismatches.jsonl"
AGREEMENT_FILE = "mask_agreement.json"
_MOST_SHOWN = 20


def values_in(mask: np.ndarray) -> list[int]:
    """The values of a uint8 mask, ascending."""
    return np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()


@dataclasses.dataclass
class MaskAgreement:
    """Compares the masks of one split with the labels of their photographs.

    A mask disagrees if it holds a class that its photograph is not labelled with, or
    holds 0 and 255 alone while the photograph has labels. Single ones are listed in
    `mask_mismatches.jsonl`; more than `most`, a share of the masks, stop the program.

    Attributes:
      split: its name.
      source: the dataset's name and place, as messages say them.
      folder: where the list is written.
      class_names: the foreground classes.
      most: largest share of masks that may disagree.
      masks: how many were compared.
      disagreeing: how many of them disagree.
      first: the first of these: its name, the values it holds and the labels.
    """

    split: str
    source: str
    folder: str | os.PathLike
    class_names: tuple[str, ...]
    most: float
    masks: int = 0
    disagreeing: int = 0
    first: tuple[str, list[int], list[int]] | None = None

    def add(self, example: Example, *, records: int) -> None:
        """Raises InputError once too many masks disagree, whatever the rest of the
        split's `records` is like.
        """
        if example.segmentation_mask is None:
            return
        self.masks += 1
        values = values_in(decode_mask(example.segmentation_mask, example.file_name))
        labels = [int(label) for label in example.labels]
        classes = {value - 1 for value in values} - {-1, IGNORE - 1}
        if classes <= set(labels) and (classes or not labels):
            return
        self.disagreeing += 1
        self.first = self.first or (example.file_name, values, labels)
        line = {"file_name": example.file_name, "values": values, "labels": self._names(labels)}
        append_line(pathlib.Path(self.folder) / MISMATCHES_FILE, {"split": self.split, **line})
        self._check(records)

    def finish(self) -> None:
        """Raises InputError if too many masks disagreed; logs how many did."""
        self.check()
        if self.disagreeing:
            _LOG.warning(
                "Split %s of %s: %d of %d masks disagree with the labels of their photographs, "
                "listed in %s.",
                self.split,
                self.source,
                self.disagreeing,
                self.masks,
                MISMATCHES_FILE,
            )

    def counts(self) -> dict[str, Any]:
        """What `write_counts` keeps."""
        return {"masks": self.masks, "disagreeing": self.disagreeing, "first": self.first}

    def check(self) -> None:
        """Raises InputError if too many of the masks disagree."""
        self._check(self.masks)

    def _check(self, masks: int) -> None:
        if self.first and self.disagreeing > self.most * masks:
            raise InputError(self._sentence(*self.first))

    def _names(self, labels: list[int]) -> list[str]:
        return [self.class_names[label] for label in labels]

    def _sentence(self, file_name: str, values: list[int], labels: list[int]) -> str:
        shown = ", ".join(
            f"{value} {name}" for value, name in enumerate(self.class_names[:_MOST_SHOWN], start=1)
        )
        shown += ", ..." if len(self.class_names) > _MOST_SHOWN else ""
        cure = (
            "Correct the masks' values, the order of the classes, or the labels"
            if set(values) - {0, IGNORE}
            else f"Write the class's value where {IGNORE} or 0 marks the object, or correct the "
            "labels"
        )
        return (
            f"Masks of split {self.split} of {self.source} disagree with the labels of their "
            f"photographs: that of {file_name} holds the values {', '.join(map(str, values))}, but "
            f"the photograph is labelled {', '.join(self._names(labels)) or 'background'}. In a "
            f"mask 0 is background, {shown}, and {IGNORE} is ignored. {cure}; if the labels are "
            "known to be incomplete, set config.data.mask_mismatches to the share of masks that "
            "may disagree."
        )


def write_counts(folder: str | os.PathLike, counts: Mapping[str, Mapping[str, Any]]) -> None:
    """Keeps the counts of each split beside its records."""
    (pathlib.Path(folder) / AGREEMENT_FILE).write_text(json.dumps(counts, indent=2) + "\n")


def read_counts(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """What was written, nothing where no masks were compared."""
    path = pathlib.Path(folder) / AGREEMENT_FILE
    return json.loads(path.read_text()) if path.exists() else {}
