"""The classes of photographs that belong to no dataset, from a label file of one's own:
of exactly these photographs, in the words of a network.
"""

import pathlib
from collections.abc import Sequence

from hfpl_jax.data.find_file import Finder
from hfpl_jax.data.label_file import read_label_file
from hfpl_jax.data.name_checks import BACKGROUND
from hfpl_jax.data.photograph_files import Listing
from hfpl_jax.errors import InputError, did_you_mean, in_brackets


def given_classes(
    path: pathlib.Path, listing: Listing, class_names: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """File name -> the zero-based classes that a photograph shows, ascending.

    Args:
      path: a file as `hfpl_jax.data.label_file` describes it; splits do not matter.
      listing: the photographs.
      class_names: of the network.

    Raises:
      InputError: whatever is wrong with the file; a class that the network does not
        know; a photograph without a row; a row without a photograph.
    """
    if not path.is_file():
        hint = Finder(path.parent).hint(path.name)
        raise InputError(
            f"--labels={path} is no file{hint}. Correct the path, or write one with the columns "
            "file_name,labels."
        )
    content, files = read_label_file(path), Finder(listing.root)
    names, found = set(listing.names), {}
    for entry in content.entries:
        if entry.error:
            raise entry.error
        labels = [content.class_names[label] for label in entry.labels]
        for label in labels:
            if label not in class_names:
                hint = in_brackets(did_you_mean(label, class_names))
                raise InputError(
                    f"{entry.where} gives {entry.file_name} the label {label!r}{hint}, which the "
                    f"network does not know: its classes are {', '.join(class_names)}. Correct "
                    f"the label, or write {BACKGROUND} for a photograph that shows none of them."
                )
        name = files.find(entry.file_name).relative_to(listing.root).as_posix()
        if name not in names:
            raise InputError(
                f"{entry.where} lists {entry.file_name}, which is none of the photographs in "
                f"{listing.root}{files.hint(entry.file_name)}. Correct the name or remove the row."
            )
        found[name] = tuple(sorted(class_names.index(label) for label in labels))
    missing = [name for name in listing.names if name not in found]
    if missing:
        raise InputError(
            f"{path} has no row for {len(missing)} of the {len(names)} photographs, such as "
            f"{missing[0]}. Add one for each, with the label {BACKGROUND} if it shows none of the "
            "classes, or name only those that have one in --photographs."
        )
    return found
