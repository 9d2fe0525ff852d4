"""Image labels from a COCO file of any categories: what its boxes and segments show."""

import pathlib
import re

from hfpl_jax.data.coco_categories import read_class_names
from hfpl_jax.data.coco_file import Photograph, read_coco_file
from hfpl_jax.data.label_entry import Entry, LabelFile
from hfpl_jax.data.name_checks import BACKGROUND, check_relative
from hfpl_jax.errors import InputError

_WHY, _CURE = "it has the labels", "Correct config.data.options.labels."
_KEYS = (rb'"annotations"\s*:', rb'"categories"\s*:')
_OTHER = rb'"classes"\s*:'
"""What a list of labels of our own has, and COCO's files have not."""


def is_coco(content: bytes) -> bool:
    """Whether a JSON file is one of COCO's."""
    return all(re.search(key, content) for key in _KEYS) and not re.search(_OTHER, content)


def read_coco_labels(path: pathlib.Path, unannotated: str = "") -> LabelFile:
    """The classes are the categories in the order of their ids; a photograph has those
    of its annotations, crowds among them. There are no splits: all of it is train.

    Args:
      path: the file.
      unannotated: "background" where photographs without annotations show none of the
        classes; "" where nobody says, and then they are bad records.

    Raises:
      InputError: it is no COCO file, or its categories cannot be classes.
    """
    class_names = read_class_names(path, _WHY, _CURE)
    content = read_coco_file(path, class_names, _WHY, _CURE)
    bare = sum(not one.objects and one.error is None for one in content.photographs)
    entries = [
        Entry(f"{path}, annotations without a photograph, number {index}", error=error)
        for index, error in enumerate(content.strays, start=1)
    ]
    for one in content.photographs:
        where = f"{path}, image {one.file_name[:100]}"
        labels = tuple(sorted({found.label for found in one.objects}))
        try:
            _check(one, where, bare if unannotated != BACKGROUND else 0)
        except InputError as error:
            entries.append(Entry(where, one.file_name, error=error))
        else:
            entries.append(Entry(where, one.file_name, labels=labels))
    return LabelFile(class_names, tuple(entries), declared=True)


def _check(one: Photograph, where: str, bare: int) -> None:
    """`bare`: how many photographs without annotations are in doubt."""
    if one.error:
        raise one.error
    check_relative(one.file_name, where)
    if bare and not one.objects:
        raise InputError(
            f"{where} has no annotation, as {bare} of the photographs: that it shows none of the "
            "classes, or that nobody looked? Set config.data.options.unannotated = 'background' "
            "for the first, or remove such photographs from 'images'."
        )
