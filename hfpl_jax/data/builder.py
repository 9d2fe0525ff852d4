"""What every dataset builder shares: the options, bad records and the fingerprint of
the source.
"""

import abc
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from hfpl_jax.data.class_counts import ClassCounts
from hfpl_jax.data.content_hashes import ContentHashes
from hfpl_jax.data.description import write_description
from hfpl_jax.data.example import Example
from hfpl_jax.data.features import example_features, features_of
from hfpl_jax.data.index import write_index
from hfpl_jax.data.json_lines import append_line
from hfpl_jax.data.mask_agreement import MaskAgreement, read_counts, write_counts
from hfpl_jax.data.overlaps import Overlaps
from hfpl_jax.data.split_digest import SplitDigest
from hfpl_jax.data.split_writer import write_split
from hfpl_jax.errors import InputError
from hfpl_jax.runtime import progress
from hfpl_jax.runtime.atomic import TEMPORARY, writing
from hfpl_jax.runtime.cores import available_cores

_LOG = logging.getLogger(__name__)

SKIPPED_FILE = "skipped.jsonl"
EXAMPLES = 3
"""Version of what becomes of a source: 2 stores photographs upright, in 8 bits of RGB;
3 stores true instances.
"""


@dataclasses.dataclass(frozen=True)
class Record:
    """A photograph that is listed but not yet read: its key, and whatever the builder
    needs to make the example.
    """

    file_name: str
    payload: Any = None


class SegmentationBuilder(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):
    """A TFDS builder of photographs with image labels and, where known, masks and
    instances.

    A subclass states `class_names`, `split_names`, `_records` (the cheap listing) and
    `_example` (the costly reading of one). Records are written in the order of the
    listing.

    Args:
      root: folder of the source; "" where nothing is read from disk or the builder can
        download it.
      on_bad_record: "raise", or "skip" to leave bad records out and list them in
        `skipped.jsonl` beside the records.
      mask_mismatches: see `MaskAgreement`.
      options: the subclass's own options; a change of them makes another dataset.
      **kwargs: of `tfds.core.GeneratorBasedBuilder`, such as `data_dir`.
    """

    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION = ""
    code_path = pathlib.Path(
        __file__
    )  # TFDS reads checksums.tsv beside it; finding the path itself needs importlib_resources
    official_splits = False
    """Whether the splits are those of a published dataset, not the user's own."""
    labels_beside_masks = False
    """Whether labels and masks come from different files, and so can disagree."""

    def __init__(
        self,
        *,
        root: str = "",
        on_bad_record: str = "raise",
        mask_mismatches: float = 0.01,
        options: Mapping[str, Any] | None = None,
        **kwargs,
    ):
        if on_bad_record not in ("raise", "skip"):
            raise InputError(
                f"config.data.on_bad_record is {on_bad_record!r}; set it to 'raise' or 'skip'."
            )
        if not 0 <= mask_mismatches <= 1:
            raise InputError(
                f"config.data.mask_mismatches is {mask_mismatches!r}; set it to a share of the "
                "masks from 0 to 1."
            )
        self.root = pathlib.Path(root).expanduser() if root else None
        self.on_bad_record = on_bad_record
        self.mask_mismatches = mask_mismatches
        self.options = dict(options or {})
        kwargs.setdefault("file_format", "array_record")
        super().__init__(**kwargs)
        self.content_hashes = ContentHashes(self._data_dir_root)
        self.digests: dict[str, dict[str, str]] = {}  # of the splits written, see SplitDigest
        self.class_counts, self._overlaps = ClassCounts(self.class_names), Overlaps()
        self._agreements: dict[str, MaskAgreement] = {}

    @property
    @abc.abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the foreground classes; a class's position is its label, position +
        1 its mask value.
        """

    @abc.abstractmethod
    def split_names(self) -> tuple[str, ...]:
        """The splits the source has."""

    @abc.abstractmethod
    def _records(self, split: str) -> Sequence[Record]:
        """Lists a split without opening its photographs."""

    @abc.abstractmethod
    def _example(self, split: str, record: Record) -> Example | None:
        """Reads and checks one photograph; None drops one that has nothing to learn
        from. Raises InputError if it is bad.
        """

    def _outcomes(
        self, split: str, records: Sequence[Record]
    ) -> Iterator[tuple[Record, Callable[[], Example | None]]]:
        """Each record with the call that gives its example, or raises its
        InputError.
        """
        for record in records:
            yield record, functools.partial(self._example, split, record)

    def source_files(self) -> Iterable[pathlib.Path]:
        """Files whose change makes another dataset; a folder stands for the files
        directly in it."""
        return ()

    @property
    def _source(self) -> str:
        """The dataset's name and place, as messages say them."""
        return f"{self.name} in {self.root or 'the generated data'}"

    @property
    def unfinished_dir(self) -> pathlib.Path:
        """Holds what an interrupted preparation can continue from; removed when the
        dataset is whole.
        """
        return pathlib.Path(self._data_dir_root) / f"{self.name}.unfinished"

    def fingerprint(self) -> str:
        """Hash of the options and of the names and contents of the source's files: a
        dataset copied to another disk is the same dataset.
        """
        settings = [
            self.name,
            str(self.VERSION),
            EXAMPLES,
            self.on_bad_record,
            self.options,
            list(self.class_names),
        ]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        files = [
            (path.name, file)
            for path in self.source_files()
            for file in (sorted(path.iterdir()) if path.is_dir() else [path])
        ]
        with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:
            contents = pool.map(self.content_hashes.of, [file for _, file in files])
            for (listed, file), content in zip(files, contents, strict=True):
                digest.update(
                    os.fsencode(f"\0{listed}\0{file.name}\0{content}")
                )  # a name on disk need not be UTF-8
        self.content_hashes.save()
        return digest.hexdigest()

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=example_features(self.class_names),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        if self.root is None:
            self._download(dl_manager)
        return {split: self._generate_examples(split) for split in self.split_names()}

    def write(self, downloads: pathlib.Path) -> None:
        """Writes the dataset into its folder, which is not there yet. TFDS's own
        `download_and_prepare` writes beside it and renames the folder, which object
        stores cannot; here a kill leaves a part, which nothing says is whole.
        """
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        manager = self._make_download_manager(download_dir=downloads, download_config=config)
        folder = pathlib.Path(self.data_dir)
        with writing(folder):
            folder.mkdir(parents=True)
        try:
            self._download_and_prepare(manager, config)
            self.info.download_size = manager.downloaded_size
            with writing(folder):
                write_description(self.info, folder / f"description{TEMPORARY}", folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        """What `write` and TFDS call to write the records, in place of TFDS's own
        writer, which would hold a whole split in memory.
        """
        splits = []
        for split, examples in self._split_generators(dl_manager).items():
            digest = SplitDigest()
            template = tfds.core.ShardedFileTemplate(
                data_dir=self.data_dir,
                dataset_name=self.name,
                split=split,
                filetype_suffix=self.info.file_format.file_suffix,
            )
            passing = digest.passing(example for _, example in examples)
            splits.append(write_split(passing, self.info.features, template))
            write_index(self.data_dir, split, digest.entries)
            self.digests[split] = digest.hashes()
        self.info.set_splits(tfds.core.SplitDict(splits))
        self._overlaps.write(self.data_dir)
        write_counts(
            self.data_dir, {split: found.counts() for split, found in self._agreements.items()}
        )

    def _download(self, dl_manager) -> None:
        """Fetches the source and sets `root`; nothing to do for a builder that
        generates its images.
        """

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        records = self._records(split)
        seen, kept, dropped = set(), 0, 0
        agreement = self._agreements[split] = self._agreement(split)
        with contextlib.closing(self._outcomes(split, records)) as outcomes:
            for record, outcome in progress.track(
                outcomes, f"Preparing {self.name} {split}", len(records)
            ):
                try:
                    example = outcome()
                    if record.file_name in seen:
                        raise InputError(
                            f"{record.file_name} is listed twice in split {split} of "
                            f"{self._source}. Remove one of the two."
                        )
                    seen.add(record.file_name)
                except InputError as error:
                    if self.on_bad_record == "raise":
                        raise
                    self._note_skipped(split, record.file_name, str(error))
                    dropped += 1
                    continue
                if example is None:
                    self._note_skipped(
                        split, record.file_name, "No pixel of any class: the image has no labels."
                    )
                    dropped += 1
                    continue
                kept += 1
                self.class_counts.add(split, example)
                self._overlaps.add(split, example)
                if self.labels_beside_masks:
                    agreement.add(example, records=len(records))
                yield record.file_name, features_of(example)
        agreement.finish()
        if dropped:
            _LOG.warning(
                "%s %s: %d of %d records left out, listed in %s.",
                self.name,
                split,
                dropped,
                len(records),
                SKIPPED_FILE,
            )
        if not kept:
            raise InputError(
                f"Split {split} of {self._source} is empty: {len(records)} records listed, "
                f"{dropped} left out. Check the list of the split and, with "
                "config.data.on_bad_record = 'raise', the first reason."
            )

    def check_masks(self) -> None:
        """Raises InputError if, of the masks that were prepared earlier, more than the
        present share disagree with the labels.
        """
        for split, kept in read_counts(self.data_dir).items():
            counts = {name: kept[name] for name in ("masks", "disagreeing", "first")}
            self._agreement(split, **counts).check()

    def _agreement(self, split: str, **counts) -> MaskAgreement:
        return MaskAgreement(
            split, self._source, self.data_dir, self.class_names, self.mask_mismatches, **counts
        )

    def _note_skipped(self, split: str, file_name: str, reason: str) -> None:
        line = {"split": split, "file_name": file_name, "reason": reason}
        append_line(pathlib.Path(self.data_dir) / SKIPPED_FILE, line)
