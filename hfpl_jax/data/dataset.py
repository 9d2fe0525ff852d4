"""A prepared dataset: random access to its splits, example by example, without
TensorFlow.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from hfpl_jax.data.builder import SKIPPED_FILE
from hfpl_jax.data.example import Example, decode_image, decode_mask, encode_mask
from hfpl_jax.data.features import instances_of
from hfpl_jax.data.index import Entry, read_index, split_hash
from hfpl_jax.data.json_lines import read_lines
from hfpl_jax.data.made_of import read_made_of
from hfpl_jax.errors import InputError
from hfpl_jax.runtime.progress import track

__all__ = ["Dataset", "Example", "Split", "decode_image", "decode_mask", "encode_mask"]

_ENCODED = ("image", "segmentation_mask", "confidence")


def read_only_builder(directory: str | os.PathLike) -> tfds.core.DatasetBuilder:
    """What `tfds.builder_from_directory` gives; features of other packages are refused,
    as TFDS would import any module they name.

    Raises:
      InputError: the folder holds no dataset, or a damaged one.
    """
    directory = pathlib.Path(directory)
    try:
        for name in _class_names(json.loads((directory / "features.json").read_bytes())):
            if not name.startswith("tensorflow_datasets.core.features."):
                raise ValueError(
                    f"features.json names the class {name[:100]!r}, which is none of TFDS's own"
                )
        return tfds.builder_from_directory(directory)
    except Exception as error:  # whatever damaged files make TFDS raise
        raise damaged_dataset(directory, error) from error


def damaged_dataset(directory: str | os.PathLike, error: object) -> InputError:
    return InputError(
        f"The dataset in {os.fspath(directory)} cannot be read ({error}). Delete the folder and "
        "make it anew."
    )


def _class_names(features: Any) -> Iterator[str]:
    """Every class that a features.json has imported."""
    if isinstance(features, dict):
        yield from (
            features[key]
            for key in ("pythonClassName", "type")
            if isinstance(features.get(key), str)
        )
    if isinstance(features, dict | list):
        for content in features.values() if isinstance(features, dict) else features:
            yield from _class_names(content)


class Split(Sequence[Example]):
    """Random access over one split; opens its files on first use, so that it can be
    sent to a worker process.
    """

    def __init__(self, directory: str | os.PathLike, name: str, length: int):
        self.name = name
        self._directory, self._length, self._source = os.fspath(directory), length, None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        index = range(self._length)[index]  # negative indices; IndexError ends a plain `for` loop
        try:
            if self._source is None:
                builder = read_only_builder(self._directory)
                encoded = {
                    name: tfds.decode.SkipDecoding()
                    for name in _ENCODED
                    if name in builder.info.features
                }
                self._source = builder.as_data_source(self.name, decoders=encoded)
            record = self._source[index]
            return Example(
                file_name=record["file_name"].decode(),
                image=record["image"],
                labels=np.asarray(record["labels"], np.int64),
                segmentation_mask=record["segmentation_mask"]
                if record.get("has_mask", True)
                else None,  # an export has masks throughout
                height=int(record["height"]),
                width=int(record["width"]),
                instances=instances_of(record),
                confidence=record.get("confidence"),
            )
        except InputError:
            raise
        except Exception as error:  # whatever damaged shards make TFDS and ArrayRecord raise
            raise damaged_dataset(self._directory, error) from error

    def entries(self) -> list[Entry]:
        """What its index says of each photograph; where it has none, all are read.

        Raises:
          InputError: the index is damaged, or that of other photographs.
        """
        try:
            found = read_index(self._directory, self.name)
            if found is not None:
                hashes = read_made_of(self._directory)["splits"][self.name]
                if len(found) != len(self) or split_hash(found) != hashes["photographs"]:
                    raise ValueError(f"the index of {self.name} is not that of its photographs")
                return found
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise damaged_dataset(self._directory, error) from error
        title = f"names and sizes of {self.name}"
        return [Entry.of(self[index]) for index in track(range(len(self)), title, len(self))]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_source": None}

    def __repr__(self) -> str:
        return f"Split({self._directory!r}, {self.name!r}, {self._length})"


class Dataset:
    """A prepared dataset, or an export of pseudo-labels with photographs as
    ArrayRecord, in `directory`.

    Attributes:
      directory: the folder that `tfds.builder_from_directory` loads as well.
      name: of the builder that made it.
      class_names: the foreground classes in the order of their labels.
      splits: names of the splits.
      fingerprint: hash of the source and of the options it was made with; "" for an
        export.

    Raises:
      InputError: the folder holds no dataset, or a damaged one; when a photograph is
        read, its shard is damaged.
    """

    def __init__(self, directory: str | os.PathLike):
        self.directory = pathlib.Path(directory)
        info = read_only_builder(self.directory).info
        try:
            self.name = info.name
            self.class_names = tuple(info.features["labels"].feature.names)
            self.splits = tuple(info.splits)
            self._lengths = {name: split.num_examples for name, split in info.splits.items()}
        except (
            Exception
        ) as error:  # TFDS reads the files of features and splits when they are first asked for
            raise damaged_dataset(self.directory, error) from error
        made_of = read_made_of(self.directory)  # an export has none: its stage has a manifest
        self.fingerprint, self._hashes = made_of["source"], made_of["splits"]

    def digest(
        self,
        photographs: Iterable[str],
        masks: Iterable[str] = (),
        unlabelled: Iterable[str] = (),
    ) -> str:
        """A hash of what a stage reads: the classes, the photographs with their labels
        of some splits, the masks and instances of some; or the photographs of some that
        are `unlabelled`, whatever the classes.
        """
        hashes = [self._hashes[split] for split in unlabelled]
        # Datasets of earlier versions have no hash of the photographs alone.
        if images := [each.get("images", each["photographs"]) for each in hashes]:
            return hashlib.sha256(json.dumps(images).encode()).hexdigest()[:16]
        read = {
            kind: {split: self._hashes[split][kind] for split in splits}
            for kind, splits in (("photographs", photographs), ("masks", masks))
        }
        content = json.dumps([self.class_names, read], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def split(self, name: str) -> Split:
        """Raises InputError, listing the splits, if there is none of that name."""
        if name not in self.splits:
            raise InputError(
                f"The dataset {self.name} in {self.directory} has no split {name!r}; it has "
                f"{', '.join(self.splits)}."
            )
        return Split(self.directory, name, self._lengths[name])

    def skipped(self) -> list[dict[str, str]]:
        """The records left out while preparing, each with `split`, `file_name` and
        `reason`.
        """
        path = self.directory / SKIPPED_FILE
        try:
            return read_lines(path)
        except (ValueError, RecursionError) as error:
            raise damaged_dataset(path, error) from error
