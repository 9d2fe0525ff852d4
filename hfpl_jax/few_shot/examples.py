"""Photographs that show exactly one class, from a label file of one's own."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping

from hfpl_jax.data.find_file import Finder, is_absent
from hfpl_jax.data.label_file import read_label_file
from hfpl_jax.data.name_checks import BACKGROUND
from hfpl_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What a label file says.

    Attributes:
      class_names: in the file's order; "background" last, where photographs show none
        of the others.
      classes: name of a photograph -> its place in `class_names`.
      several: photographs that show several classes, which no prototype can be made of.
    """

    class_names: tuple[str, ...]
    classes: Mapping[str, int]
    several: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Photographs of each class."""
        found = collections.Counter(self.classes.values())
        return {name: found[place] for place, name in enumerate(self.class_names)}


def read_labelled(path: pathlib.Path, root: pathlib.Path) -> Labelled:
    """Of the photographs below a folder; the splits of the file do not matter.

    Raises:
      InputError: whatever is wrong with the file; a photograph that is not there.
    """
    content, files = read_label_file(path), Finder(root)
    classes, several, none = {}, [], len(content.class_names)
    for entry in content.entries:
        if entry.error:
            raise entry.error
        file = files.find(entry.file_name)
        if is_absent(file):
            raise InputError(
                f"{entry.where} lists {entry.file_name}, which is not in {root}"
                f"{files.hint(entry.file_name)}. Correct the name or remove the row."
            )
        name = file.relative_to(root).as_posix()
        if len(entry.labels) > 1:
            several.append(name)
        else:
            classes[name] = entry.labels[0] if entry.labels else none
    background = (BACKGROUND,) if none in classes.values() else ()
    return Labelled((*content.class_names, *background), classes, tuple(several))
