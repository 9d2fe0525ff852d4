"""What is read of a file or a folder that says which labels photographs have."""

import dataclasses

from hfpl_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Entry:
    """One photograph of one split: its name and zero-based labels (none for one of
    background alone), or the error that makes it a bad record.
    """

    where: str
    file_name: str = ""
    split: str = "train"
    labels: tuple[int, ...] = ()
    error: InputError | None = None


@dataclasses.dataclass(frozen=True)
class LabelFile:
    """`declared`: the file names its classes itself, in the order of their labels."""

    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    declared: bool
