"""Pseudo-labels as a folder that `tfds.builder_from_directory` loads, in TFRecord or ArrayRecord shards. TensorFlow is not needed."""

import contextlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from hfpl_jax.atomic import writing
from hfpl_jax.data.dataset import damaged_dataset, read_only_builder
from hfpl_jax.errors import InputError
from hfpl_jax.export.png import encode_png
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import staging_folder
from hfpl_jax.export.tfrecord import TFRecordWriter

NAME = "pseudo_labels"
IMAGES_PER_SHARD = 1024  # 100 to 200 MB with photographs of VOC's and COCO's size, as TFDS recommends
_INFO = "dataset_info.json"  # without it a folder is no dataset to TFDS

_DESCRIPTION = """Pixel labels made from image labels.

segmentation_mask: 0 background, 1..C the foreground class `label + 1`, 255 ignore. confidence: 255 = certain."""
_CITATION = """@inproceedings{jonnarth2024high,
  title={High-fidelity Pseudo-labels for Boosting Weakly-Supervised Segmentation},
  author={Jonnarth, Arvi and Zhang, Yushan and Felsberg, Michael},
  booktitle={Winter Conference on Applications of Computer Vision (WACV)},
  year={2024}
}"""

_WRITERS = {"tfrecord": TFRecordWriter, "array_record": lambda path: ArrayRecordWriter(os.fspath(path), "group_size:1")}


def write(
    pseudo_labels: Iterable[PseudoLabel], directory: pathlib.Path, *, class_names: Sequence[str], split: str, total: int, file_format: str
) -> pathlib.Path:
    """Writes `split` into `directory` and returns the directory; other splits already in it stay.

    `pseudo_labels` yields exactly `total`. Features: file_name, image (if given), labels, segmentation_mask, confidence (if given),
    height, width. Until the split is complete its shards lie in a staging folder; the dataset's description lists the split only when
    they are all in place.

    Raises:
      InputError: photographs or confidences given for some and missing for others; other splits in `directory` of another
        format, with other classes or features; the disk refuses.
    """
    examples = iter(pseudo_labels)
    first = next(examples)
    features = _features(first, class_names)
    others = _other_splits(directory, split, features, file_format)
    with staging_folder(directory / split) as staged:
        shards = -(-total // IMAGES_PER_SHARD)
        shard_lengths = np.diff([total * shard // shards for shard in range(shards + 1)]).tolist()
        template = tfds.core.ShardedFileTemplate(data_dir=staged, dataset_name=NAME, split=split, filetype_suffix=file_format)
        serialized = _serialized(itertools.chain([first], examples), features)
        size = 0
        for shard, length in enumerate(shard_lengths):
            path = pathlib.Path(template.sharded_filepath(shard_index=shard, num_shards=shards))
            last = shard == shards - 1  # it takes the rest, so that the check of `total` sees the end
            size += _write_shard(path, itertools.islice(serialized, None if last else length), file_format)
        new = tfds.core.SplitInfo(name=split, shard_lengths=shard_lengths, num_bytes=size)
        with writing(directory):
            _publish(staged, directory, [*others, new], features, file_format)
    return directory


def _features(first: PseudoLabel, class_names: Sequence[str]) -> tfds.features.FeaturesDict:
    one_channel = {"shape": (None, None, 1), "dtype": np.uint8, "encoding_format": "png"}
    features = {
        "file_name": tfds.features.Text(),
        "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=list(class_names))),
        "segmentation_mask": tfds.features.Image(**one_channel),
        "height": np.int32,
        "width": np.int32,
    }
    if first.image is not None:
        features["image"] = tfds.features.Image(shape=(None, None, 3), dtype=np.uint8)
    if first.confidence is not None:
        features["confidence"] = tfds.features.Image(**one_channel)
    return tfds.features.FeaturesDict(features)


def _serialized(pseudo_labels: Iterable[PseudoLabel], features: tfds.features.FeaturesDict) -> Iterator[bytes]:
    """Each pseudo-label as the bytes of a tf.train.Example (TFDS carries the message itself, so TensorFlow is not needed)."""
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    for pseudo_label in pseudo_labels:
        for field in ("image", "confidence"):
            if (getattr(pseudo_label, field) is not None) != (field in features):
                verb = "lacks" if field in features else "has"
                raise InputError(
                    f"The pseudo-label of {pseudo_label.file_name} {verb} `{field}`, unlike the first one. "
                    "Give it for all photographs or for none."
                )
        height, width = pseudo_label.mask.shape
        example = {
            "file_name": pseudo_label.file_name,
            "labels": list(pseudo_label.labels),
            "segmentation_mask": encode_png(pseudo_label.mask),
            "height": height,
            "width": width,
        }
        if pseudo_label.image is not None:
            example["image"] = pseudo_label.image
        if pseudo_label.confidence is not None:
            example["confidence"] = encode_png(pseudo_label.confidence)
        # Not `features.serialize_example`: it leaves the order of the fields, and so the bytes, to chance.
        yield serializer.get_tf_example(features.encode_example(example)).SerializeToString(deterministic=True)


def _write_shard(path: pathlib.Path, serialized: Iterable[bytes], file_format: str) -> int:
    """Returns the sum of the records' lengths, as TFDS counts bytes."""
    size = 0
    with writing(path):
        writer = _WRITERS[file_format](path)
    try:
        for data in serialized:
            with writing(path):
                writer.write(data)
            size += len(data)
    except BaseException:
        with contextlib.suppress(OSError, RuntimeError):  # the first error is the one to tell
            writer.close()
        raise
    with writing(path):
        writer.close()
        with open(path, "rb") as file:
            os.fsync(file.fileno())  # the bytes reach the disk before the name does
    return size


def _other_splits(
    directory: pathlib.Path, split: str, features: tfds.features.FeaturesDict, file_format: str
) -> list[tfds.core.SplitInfo]:
    """The splits beside `split` in the dataset that `directory` holds already, if any."""
    if not (directory / _INFO).exists():
        return []
    info = read_only_builder(directory).info
    try:
        found = [info.name, info.file_format.value, info.features.to_json(), info.features["labels"].feature.names]
        others = [one for name, one in info.splits.items() if name != split]
    except Exception as error:  # whatever a damaged JSON file makes TFDS raise
        raise damaged_dataset(directory, error) from error
    wanted = [NAME, file_format, features.to_json(), features["labels"].feature.names]
    if others and found != wanted:
        raise InputError(
            f"{directory} already holds the splits {[one.name for one in others]} in another format, or with other classes or features. "
            "Delete the folder or export into another one."
        )
    return others


def _publish(
    staged: pathlib.Path, directory: pathlib.Path, splits: list[tfds.core.SplitInfo], features: tfds.features.FeaturesDict, file_format: str
) -> None:
    """Moves the staged shards of the last of `splits` into `directory`. At every moment the description names whole splits only."""
    *others, new = splits
    shards = sorted(staged.iterdir())
    if others:
        _write_metadata(staged / "before", directory, others, features, file_format)
    else:
        (directory / _INFO).unlink(missing_ok=True)
    for old in directory.glob(f"{NAME}-{new.name}.*-of-*"):
        old.unlink()
    for shard in shards:
        os.replace(shard, directory / shard.name)
    _write_metadata(staged / "after", directory, splits, features, file_format)


def _write_metadata(
    staged: pathlib.Path, directory: pathlib.Path, splits: list[tfds.core.SplitInfo], features: tfds.features.FeaturesDict, file_format: str
) -> None:
    identity = tfds.core.DatasetIdentity(name=NAME, version=tfds.core.Version("1.0.0"), data_dir=os.fspath(directory), module_name="")
    info = tfds.core.DatasetInfo(builder=identity, features=features, description=_DESCRIPTION, citation=_CITATION)
    info.set_file_format(tfds.core.FileFormat(file_format))
    template = tfds.core.ShardedFileTemplate(data_dir=directory, dataset_name=NAME, filetype_suffix=file_format)
    info.set_splits(tfds.core.SplitDict([split.replace(filename_template=template) for split in splits]))
    staged.mkdir()
    info.write_to_directory(staged)
    for path in sorted(staged.iterdir(), key=lambda path: path.name == _INFO):  # the description last: it makes the folder a dataset
        os.replace(path, directory / path.name)
