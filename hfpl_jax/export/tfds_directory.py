"""Pseudo-labels as a folder that `tfds.builder_from_directory` loads, in TFRecord or
ArrayRecord shards. TensorFlow is not needed.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from hfpl_jax.data.dataset import damaged_dataset, read_only_builder
from hfpl_jax.data.description import INFO_FILE, write_description
from hfpl_jax.errors import InputError
from hfpl_jax.export.parts import parts_of
from hfpl_jax.export.png import encode_png
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.runtime.atomic import writing
from hfpl_jax.runtime.tfrecord import TFRecordWriter

NAME = "pseudo_labels"

_DESCRIPTION = """Pixel labels made from image labels.

segmentation_mask: 0 background, 1..C the foreground class `label + 1`, 255 ignore.
confidence: 255 = certain.
instances: the things that were found. counts is COCO's run-length code of height x width
pixels, which pycocotools.mask decodes; peak the row and the column that one was found at."""
_CITATION = """@inproceedings{jonnarth2024high,
  title={High-fidelity Pseudo-labels for Boosting Weakly-Supervised Segmentation},
  author={Jonnarth, Arvi and Zhang, Yushan and Felsberg, Michael},
  booktitle={Winter Conference on Applications of Computer Vision (WACV)},
  year={2024}
}"""

_WRITERS = {
    "tfrecord": TFRecordWriter,
    "array_record": lambda path: ArrayRecordWriter(os.fspath(path), "group_size:1"),
}


class TfdsWriter:
    """Writes `split` into `directory`; other splits already in it stay.

    Features: file_name, image (if given), labels, segmentation_mask, confidence (if
    given), instances (if given), height, width. A part is a shard; until all are
    written they lie in a staging folder, and the dataset's description lists the split
    only when they are all in place.

    Raises:
      InputError: photographs, confidences or instances given for some and missing for
        others; other splits in `directory` of another format, with other classes or features;
        the disk refuses.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        pseudo_labels: Sequence[PseudoLabel],
        *,
        class_names: Sequence[str],
        split: str,
        file_format: str,
    ):
        self.path, self._split, self._file_format = directory, split, file_format
        self._features = _features(pseudo_labels[0], class_names)
        self._others = _other_splits(directory, split, self._features, file_format)
        self._shard_lengths = [len(part) for part in parts_of(len(pseudo_labels))]
        template = tfds.core.ShardedFileTemplate(
            data_dir=directory, dataset_name=NAME, split=split, filetype_suffix=file_format
        )
        self._shards = template.sharded_filenames(len(self._shard_lengths))

    def write_part(
        self, folder: pathlib.Path, part: int, pseudo_labels: Iterable[PseudoLabel]
    ) -> list[tuple[str, int]]:
        return _write_shard(
            folder / self._shards[part],
            _serialized(pseudo_labels, self._features),
            self._file_format,
        )

    def publish(self, folder: pathlib.Path, facts: dict[str, int]) -> None:
        """Moves the shards into the directory. At every moment its description names
        whole splits only.
        """
        new = tfds.core.SplitInfo(
            name=self._split, shard_lengths=self._shard_lengths, num_bytes=sum(facts.values())
        )
        with writing(self.path):
            if self._others:
                self._describe(folder / "before", self._others)
            else:
                (self.path / INFO_FILE).unlink(missing_ok=True)
            for old in self.path.glob(f"{NAME}-{self._split}.*-of-*"):
                old.unlink()
            for shard in self._shards:
                os.replace(folder / shard, self.path / shard)
            self._describe(folder / "after", [*self._others, new])

    def _describe(self, staged: pathlib.Path, splits: list[tfds.core.SplitInfo]) -> None:
        """Replaces the directory's description by one that lists `splits`."""
        identity = tfds.core.DatasetIdentity(
            name=NAME,
            version=tfds.core.Version("1.0.0"),
            data_dir=os.fspath(self.path),
            module_name="",
        )
        info = tfds.core.DatasetInfo(
            builder=identity, features=self._features, description=_DESCRIPTION, citation=_CITATION
        )
        info.set_file_format(tfds.core.FileFormat(self._file_format))
        template = tfds.core.ShardedFileTemplate(
            data_dir=self.path, dataset_name=NAME, filetype_suffix=self._file_format
        )
        info.set_splits(
            tfds.core.SplitDict([split.replace(filename_template=template) for split in splits])
        )
        write_description(info, staged, self.path)


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
    if first.instances is not None:
        features["instances"] = tfds.features.Sequence(
            {
                "label": tfds.features.ClassLabel(names=list(class_names)),
                "counts": tfds.features.Text(),
                "score": np.float32,
                "peak": tfds.features.Tensor(shape=(2,), dtype=np.int32),
            }
        )
    return tfds.features.FeaturesDict(features)


def _serialized(
    pseudo_labels: Iterable[PseudoLabel], features: tfds.features.FeaturesDict
) -> Iterator[tuple[str, bytes]]:
    """Names, and pseudo-labels as the bytes of a tf.train.Example (TFDS carries the
    message itself, so TensorFlow is not needed).
    """
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    for pseudo_label in pseudo_labels:
        for field in ("image", "confidence", "instances"):
            if (getattr(pseudo_label, field) is not None) != (field in features):
                verb = "lacks" if field in features else "has"
                raise InputError(
                    f"The pseudo-label of {pseudo_label.file_name} {verb} `{field}`, unlike the "
                    "first one. "
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
        if pseudo_label.instances is not None:
            example["instances"] = [
                {
                    "label": one.label,
                    "counts": one.segmentation["counts"],
                    "score": one.score,
                    "peak": one.peak,
                }
                for one in pseudo_label.instances
            ]
        # Not `features.serialize_example`: it leaves the order of the fields, and so
        # the bytes, to chance.
        data = serializer.get_tf_example(features.encode_example(example)).SerializeToString(
            deterministic=True
        )
        yield pseudo_label.file_name, data


def _write_shard(
    path: pathlib.Path, serialized: Iterable[tuple[str, bytes]], file_format: str
) -> list[tuple[str, int]]:
    """Returns each record's name and length, which is what TFDS counts as its bytes."""
    sizes = []
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = _WRITERS[file_format](path)
    try:
        for name, data in serialized:
            with writing(path):
                writer.write(data)
            sizes.append((name, len(data)))
    except BaseException:
        with contextlib.suppress(OSError, RuntimeError):  # the first error is the one to tell
            writer.close()
        raise
    with writing(path):
        writer.close()
        with open(path, "rb") as file:
            os.fsync(file.fileno())  # the bytes reach the disk before the name does
    return sizes


def _other_splits(
    directory: pathlib.Path, split: str, features: tfds.features.FeaturesDict, file_format: str
) -> list[tfds.core.SplitInfo]:
    """The splits beside `split` in the dataset that `directory` holds already, if
    any.
    """
    if not (directory / INFO_FILE).exists():
        return []
    info = read_only_builder(directory).info
    try:
        found = [
            info.name,
            info.file_format.value,
            info.features.to_json(),
            info.features["labels"].feature.names,
        ]
        others = [one for name, one in info.splits.items() if name != split]
    except Exception as error:  # whatever a damaged JSON file makes TFDS raise
        raise damaged_dataset(directory, error) from error
    wanted = [NAME, file_format, features.to_json(), features["labels"].feature.names]
    if others and found != wanted:
        raise InputError(
            f"{directory} already holds the splits {[one.name for one in others]} in another "
            "format, or with other classes or features. "
            "Delete the folder or export into another one."
        )
    return others
