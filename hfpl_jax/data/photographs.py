"""Builders that read photographs from disk: the checks every photograph passes, and a
preparation that can be resumed.
"""

import abc
import collections
import concurrent.futures
import contextlib
import dataclasses
import errno
import json
import logging
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from hfpl_jax.data.builder import EXAMPLES, Record, SegmentationBuilder
from hfpl_jax.data.example import Example, encode_mask, plain_image
from hfpl_jax.data.journal import Journal
from hfpl_jax.data.name_checks import check_relative
from hfpl_jax.data.picture import TURNED
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance
from hfpl_jax.masks import IGNORE
from hfpl_jax.runtime.cores import available_cores

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Photograph:
    """Payload of a record: the image file, the other files its labels, mask and
    instances come from, and what the builder knows of it.
    """

    image: pathlib.Path
    sources: tuple[pathlib.Path, ...] = ()
    annotation: Any = None


class Annotated(NamedTuple):
    """What is said of a photograph: zero-based labels, uint8 mask [h, w] and instances;
    None where nobody says.
    """

    labels: Sequence[int]
    mask: np.ndarray | None
    instances: Sequence[Instance] | None = None


class SizeError(InputError):
    """A mask, or what describes it, has another size than its photograph."""


class PhotographBuilder(SegmentationBuilder, skip_registration=True):
    """Reads, decodes and checks each photograph, in threads; a subclass says what its
    labels, its mask and its instances are.

    A photograph on whose pixels decoders might disagree is stored as a PNG of what
    `decode_image` sees, upright in 8 bits of RGB; sizes and masks are those of the
    upright picture. All others keep their bytes.

    Checked photographs are noted in a journal below `unfinished_dir`, which outlives an
    interrupted preparation.
    """

    keeps_unlabelled = False
    """Whether a photograph without labels is one that shows no class, not one to
    drop.
    """

    def __init__(self, *, root: str = "", **kwargs):
        if root and not pathlib.Path(root).expanduser().is_dir():
            raise InputError(f"config.data.root = {str(root)!r} is no folder. Correct the path.")
        super().__init__(root=root, **kwargs)

    @abc.abstractmethod
    def _annotate(self, record: Record, height: int, width: int) -> Annotated:
        """What is said of a photograph of this size. Raises InputError."""

    def _split_generators(self, dl_manager):
        splits = super()._split_generators(dl_manager)
        if self.on_bad_record == "raise":  # before the first photograph is read
            for split in splits:
                for record in self._records(split):
                    self._check_listed(split, record)
        return splits

    def _check_listed(self, split: str, record: Record) -> None:
        """Raises InputError if the listing itself was bad."""
        if isinstance(record.payload, InputError):
            raise record.payload
        check_relative(record.file_name, f"Split {split} of {self._source}")

    def _outcomes(
        self, split: str, records: Sequence[Record]
    ) -> Iterator[tuple[Record, Callable[[], Example | None]]]:
        workers = min(available_cores(), 16)
        waiting = collections.deque()
        with (
            contextlib.closing(Journal(self.unfinished_dir / "checked" / split)) as self._journal,
            concurrent.futures.ThreadPoolExecutor(workers) as pool,
        ):
            self._stored_anew: list[tuple[str, str]] = []
            try:
                for record in records:
                    waiting.append((record, pool.submit(self._example, split, record)))
                    if len(waiting) >= 4 * workers:
                        record, future = waiting.popleft()
                        yield record, future.result
                while waiting:
                    record, future = waiting.popleft()
                    yield record, future.result
            finally:
                pool.shutdown(cancel_futures=True)
        for change, names in _by_change(self._stored_anew).items():
            _LOG.info(
                "%s %s: %d of %d photographs are stored anew, as PNG: %s (the first is %s).",
                self.name,
                split,
                len(names),
                len(records),
                change,
                names[0],
            )

    def _example(self, split: str, record: Record) -> Example | None:
        self._check_listed(split, record)
        photograph: Photograph = record.payload
        image = read_bytes(photograph.image, f"split {split} of {self.name} lists it")
        key = json.dumps(
            [
                EXAMPLES,
                self.class_names,  # COCO's are in the file of train, for val too
                self.options,
                [self.content_hashes.of(path) for path in (photograph.image, *photograph.sources)],
            ],
            sort_keys=True,
        )
        noted = self._journal.get(record.file_name, key, image)
        if noted is None:
            plain = plain_image(image, str(photograph.image))
            try:
                said = self._annotate(record, plain.height, plain.width)
            except SizeError as error:
                if TURNED not in plain.changes:
                    raise
                raise InputError(
                    f"{error} The EXIF orientation of {photograph.image} turns it: masks, widths "
                    "and heights must be those of the upright picture."
                ) from error
            example = Example(
                record.file_name,
                plain.image,
                np.unique(np.asarray(said.labels, np.int64)),
                None if said.mask is None else encode_mask(said.mask),
                plain.height,
                plain.width,
                None if said.instances is None else tuple(said.instances),
            )
            self._journal.add(key, example, plain.changes)
            noted = example, plain.changes
        example, changes = noted
        self._stored_anew += [(change, record.file_name) for change in changes]
        return example if example.labels.size or self.keeps_unlabelled else None


def _by_change(stored_anew: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for change, name in sorted(stored_anew):
        names.setdefault(change, []).append(name)
    return names


def download(dl_manager: tfds.download.DownloadManager, addresses: Any) -> Any:
    """Fetches and unpacks archives, checking their sums; returns the folders in the
    structure of `addresses`.
    """
    _LOG.info("config.data.root is empty: downloading %s", addresses)
    if sys.stderr.isatty():
        tfds.enable_progress_bar()
    try:
        return dl_manager.download_and_extract(addresses)
    except Exception as error:  # TFDS, requests and the archive readers have no common class
        raise InputError(
            f"Cannot download {addresses} ({error}). Try again later, or unpack them yourself and "
            "set config.data.root to that folder."
        ) from error
    finally:
        tfds.disable_progress_bar()


_LEAVE_OUT = "Put the file there, take it off the list, or set config.data.on_bad_record = 'skip'."


def read_bytes(path: pathlib.Path, why: str, cure: str = _LEAVE_OUT) -> bytes:
    """Raises InputError, naming the file and why it is wanted, if it is not there. A
    device or a pipe, which may never end, is no file.
    """
    try:
        if path.exists() and not path.is_file():
            raise IsADirectoryError(errno.EISDIR, "it is no file")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}), but {why}. {cure}") from error


def check_mask(
    mask: np.ndarray, path: pathlib.Path, height: int, width: int, num_classes: int
) -> np.ndarray:
    """Returns the mask. Raises InputError if its size is not the photograph's or a
    value is no class.
    """
    if mask.shape != (height, width):
        raise SizeError(
            f"The mask {path} is {mask.shape[1]}x{mask.shape[0]} pixels, but its photograph is "
            f"{width}x{height}. "
            "Both must have the same size: resize the mask with nearest-neighbour sampling, or "
            "remove it."
        )
    values = np.unique(mask)
    wrong = values[(values > num_classes) & (values != IGNORE)]
    if wrong.size:
        raise InputError(
            f"The mask {path} holds the values {wrong.tolist()}, but there are {num_classes} "
            "classes: "
            f"a mask holds 0 (background), 1..{num_classes} and {IGNORE} (ignore)."
        )
    return mask
