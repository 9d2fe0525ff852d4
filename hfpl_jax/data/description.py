"""The description of a dataset that `tfds.builder_from_directory` loads."""

import os
import pathlib

import tensorflow_datasets as tfds

INFO_FILE = "dataset_info.json"
"""Without it a folder is no dataset to TFDS."""


def write_description(
    info: tfds.core.DatasetInfo, staged: pathlib.Path, folder: pathlib.Path
) -> None:
    """Replaces the files of a description in `folder`, each whole, the one that makes the
    folder a dataset last.

    Args:
      info: what they say.
      staged: where they are written first; there is nothing yet, and nothing after.
      folder: of the dataset, on the same disk.
    """
    staged.mkdir(parents=True)
    info.write_to_directory(staged)
    for path in sorted(staged.iterdir(), key=lambda path: path.name == INFO_FILE):
        os.replace(path, folder / path.name)
    staged.rmdir()
