"""Makes the dataset a config asks for, once: a second call returns it at once while its
source has not changed.
"""

import importlib
import inspect
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds

from hfpl_jax.data import made_of
from hfpl_jax.data.builder import SegmentationBuilder
from hfpl_jax.data.dataset import Dataset, damaged_dataset
from hfpl_jax.data.description import INFO_FILE
from hfpl_jax.data.overlaps import check_overlap
from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.runtime import workdir_lock

_LOG = logging.getLogger(__name__)

BUILDERS = {"scenes": "Scenes", "voc_seg": "VocSeg", "coco_seg": "CocoSeg", "folder": "Folder"}
"""Name of a dataset, which is also its module in `hfpl_jax.data`, and the class in
it.
"""
SPLIT_FIELDS = ("train_split", "label_split", "score_split", "val_split")


def prepare(config_data: Mapping[str, Any], directory: str | os.PathLike) -> Dataset:
    """Builds the dataset that `config.data` names, below `directory`, unless it is
    there already.

    A dataset is whole or absent: what it was made of is written last and removed first.
    An interrupted preparation of photographs continues where it stopped.

    Args:
      config_data: `name`, `root`, `on_bad_record`, `mask_mismatches`, `options`, and
        the splits that are used, which must exist ("" for none); without
        `allow_overlap`, those trained on and labelled share no photograph with val.
      directory: holds one folder a dataset name.

    Raises:
      InputError: an unknown name or option, a bad source, or a split that the source
        does not have.
    """
    builder = make_builder(config_data, directory)
    path, fingerprint = pathlib.Path(builder.data_dir), builder.fingerprint()
    wanted = {field: config_data[field] for field in SPLIT_FIELDS if config_data.get(field)}
    if made_of.read_made_of(path)["source"] != fingerprint:
        _check_splits(builder.name, builder.split_names(), wanted, builder.root)
        with workdir_lock.held(pathlib.Path(directory), within=True):  # runs may share it
            if made_of.read_made_of(path)["source"] != fingerprint:  # none did it meanwhile
                builder = _build(builder, fingerprint, config_data, directory)
    dataset = Dataset(path)
    if (
        dataset.class_names != builder.class_names
    ):  # TFDS takes a damaged list of names for one that is not there
        raise damaged_dataset(path, "its list of class names is damaged")
    _check_splits(dataset.name, dataset.splits, wanted, dataset.directory)
    try:
        builder.check_masks()
        check_overlap(config_data, path, official=builder.official_splits)
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes the reading of it raise
        raise damaged_dataset(path, error) from error
    return dataset


def make_builder(
    config_data: Mapping[str, Any], directory: str | os.PathLike
) -> SegmentationBuilder:
    """The TFDS builder of a dataset, not yet prepared. Raises InputError for an unknown
    name or option.
    """
    name, options = config_data["name"], dict(config_data.get("options") or {})
    if name not in BUILDERS:
        hint = in_brackets(did_you_mean(name, BUILDERS))
        raise InputError(
            f"config.data.name is {name!r}{hint}; choose one of {', '.join(BUILDERS)}."
        )
    builder_class = getattr(importlib.import_module(f"hfpl_jax.data.{name}"), BUILDERS[name])
    known = [
        key
        for key, parameter in inspect.signature(builder_class).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    known = [key for key in known if key not in ("root", "on_bad_record", "mask_mismatches")]
    for key in options:
        if key not in known:
            hint = in_brackets(did_you_mean(key, known))
            raise InputError(
                f"config.data.options.{key} is no option of {name}{hint}; it has "
                f"{', '.join(known) or 'none'}."
            )
    settings = {
        "root": config_data.get("root", ""),
        "on_bad_record": config_data.get("on_bad_record", "raise"),
        "mask_mismatches": config_data.get("mask_mismatches", 0.01),
        **options,
    }
    try:
        return builder_class(data_dir=os.fspath(directory), **settings)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # whatever the damaged description of an earlier preparation makes TFDS raise
        raise damaged_dataset(pathlib.Path(directory) / name, error) from error


def _build(
    builder: SegmentationBuilder,
    fingerprint: str,
    config_data: Mapping[str, Any],
    directory: str | os.PathLike,
) -> SegmentationBuilder:
    path = pathlib.Path(builder.data_dir)
    if path.exists():
        whole = (path / made_of.FILE_NAME).exists()
        why = "Its source or its options have changed" if whole else "An earlier one was killed"
        _LOG.info("%s: %s. Preparing it again.", builder.name, why)
        for name in (made_of.FILE_NAME, INFO_FILE):  # what says that the rest is whole
            (path / name).unlink(missing_ok=True)
        shutil.rmtree(path)
        builder = make_builder(
            config_data, directory
        )  # one that found the old records would keep their description
    start = time.monotonic()
    tfds.disable_progress_bar()  # the builder shows its own
    # Downloaded archives are kept; without a download TFDS's empty folders are not.
    downloads = (
        pathlib.Path(directory) / "downloads"
        if builder.root is None
        else builder.unfinished_dir / "downloads"
    )
    builder.write(downloads)
    made_of.write_made_of(path, fingerprint, builder.digests)
    shutil.rmtree(builder.unfinished_dir, ignore_errors=True)
    counts = ", ".join(
        f"{name} {split.num_examples}" for name, split in builder.info.splits.items()
    )
    _LOG.info(
        "Prepared %s in %s: %s (%.0f s).", builder.name, path, counts, time.monotonic() - start
    )
    _LOG.info("%s", builder.class_counts.table())
    if unused := set(builder.info.splits) - {config_data.get(field) for field in SPLIT_FIELDS}:
        _LOG.info(
            "Not used by config.data.%s: %s.", "/".join(SPLIT_FIELDS), ", ".join(sorted(unused))
        )
    trained = config_data.get("train_split", "")
    if absent := builder.class_counts.absent(trained):
        where = f"split {trained}" if trained else "any split"
        _LOG.warning("No photograph of %s shows %s.", where, ", ".join(absent))
    return builder


def _check_splits(
    name: str, splits: tuple[str, ...], wanted: Mapping[str, str], where: os.PathLike | None
) -> None:
    for field, split in wanted.items():
        if split not in splits:
            instead = "''" if field == "val_split" else splits[0]
            raise InputError(
                f"{name} in {where or 'its download'} has no split "
                f"{split!r}{in_brackets(did_you_mean(split, splits))}; it has {', '.join(splits)}. "
                f"Set --config.data.{field}={instead}, or add the split to the source: its list "
                "file, or its rows of the label file."
            )
