"""Pseudo-labels as Parquet files that Hugging Face datasets loads: photographs and masks
are its images. pyarrow alone writes them.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from hfpl_jax.errors import InputError
from hfpl_jax.export.parts import Split, Write, parts_of
from hfpl_jax.export.png import encode_png
from hfpl_jax.export.pseudo_label import PseudoLabel, check_like_first
from hfpl_jax.export.staging import closing
from hfpl_jax.runtime.atomic import atomic_write, writing

_ROWS, _BYTES = 100, 2**28
"""The most of a row group, which is held in memory; as many rows as datasets takes where
there are images.
"""
_LIST = "Sequence"
"""Of one feature: what versions of datasets before 4 know, and later ones read."""


def check_parquet(*_: Any) -> None:
    """Raises InputError if pyarrow is missing."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"The export format parquet is written by pyarrow, which cannot be imported ({error}). "
            "Install it (pip install pyarrow), or leave out the format."
        ) from error


class ParquetWriter:
    """Writes `split` into `directory`/data; other splits already in it stay.

    Columns: file_name, image (if given), labels, segmentation_mask (grey PNG: 0
    background, 255 ignore), confidence (if given), height, width; no instances. A part
    is a file, of row groups of 100 photographs. README.md is the dataset's card, whose
    head names features and splits; a split stands there only while all of it is in
    place.

    Raises:
      InputError: what `check_parquet` raises; photographs or confidences given for some
        and missing for others; other splits in `directory` with other classes or
        features; the disk refuses.
    """

    def __init__(self, directory: pathlib.Path, split: Split):
        check_parquet()
        self.path, self._split = directory, split
        self._data, self._card = directory / "data", directory / "README.md"
        self._features = _features(split)
        self._count = len(parts_of(split.total))
        self._schema = _schema(self._features)
        self._others = sorted(
            {path.name.rpartition("-of-")[0][:-6] for path in self._data.glob("*-of-*.parquet")}
            - {split.name}
        )
        if any(
            self._footer(path).schema.to_arrow_schema().metadata != self._schema.metadata
            for name in self._others
            for path in self._files(name)
        ):
            raise InputError(
                f"{directory} already holds the splits {self._others} with other classes or "
                "features. Delete the folder or export into another one."
            )

    @contextlib.contextmanager
    def part(self, folder: pathlib.Path, part: int) -> Iterator[Write]:
        from pyarrow import RecordBatch
        from pyarrow.parquet import ParquetWriter as RowWriter

        path = folder / f"{self._split.name}-{part:05d}-of-{self._count:05d}.parquet"
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            writer = RowWriter(path, self._schema, compression="none")
        rows: list[dict] = []
        held = 0

        def flush() -> None:
            nonlocal held
            with writing(path):
                writer.write_batch(RecordBatch.from_pylist(rows, schema=self._schema))
            rows.clear()
            held = 0

        def write(one: PseudoLabel) -> None:
            nonlocal held
            check_like_first(one, self._features, ("image", "confidence"))
            rows.append(_row(one))
            held += len(one.image or b"") + one.mask.size
            if len(rows) == _ROWS or held >= _BYTES:
                flush()

        with closing(writer, path):
            yield write
            if rows:
                flush()

    def publish(self, folder: pathlib.Path, facts: dict[str, None]) -> None:
        with writing(self._card):
            if self._others:
                atomic_write(self._card, self._text(self._others))
            else:
                self._card.unlink(missing_ok=True)
            self._data.mkdir(exist_ok=True)
            for old in self._files(self._split.name):
                old.unlink()
            for path in sorted(folder.iterdir()):
                os.replace(path, self._data / path.name)
        atomic_write(self._card, self._text([*self._others, self._split.name]))

    def _files(self, split: str) -> list[pathlib.Path]:
        return sorted(self._data.glob(f"{split}-*-of-*.parquet"))

    def _footer(self, path: pathlib.Path) -> Any:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_metadata

        try:
            return read_metadata(path)
        except (OSError, ArrowException) as error:
            raise InputError(
                f"Cannot read {path} ({error}), of an earlier export. Delete the folder or export "
                "into another one."
            ) from error

    def _text(self, splits: Sequence[str]) -> str:
        """The card. A text in JSON is one in YAML."""
        head = ["---", "dataset_info:", "  features:"]
        for name, feature in self._features.items():
            head.append(f"  - name: {name}")
            if feature["_type"] == _LIST:
                names = feature["feature"]["names"]
                head += ["    sequence:", "      class_label:", "        names:"]
                head += [f"          '{i}': {json.dumps(one)}" for i, one in enumerate(names)]
            else:
                head.append(f"    dtype: {feature.get('dtype', 'image')}")
        head.append("  splits:")
        for split in sorted(splits):
            footers = [self._footer(path) for path in self._files(split)]
            rows = sum(footer.num_rows for footer in footers)
            size = sum(
                footer.row_group(group).total_byte_size
                for footer in footers
                for group in range(footer.num_row_groups)
            )
            head += [f"  - name: {split}", f"    num_bytes: {size}", f"    num_examples: {rows}"]
        head += ["configs:", "- config_name: default", "  data_files:"]
        for split in sorted(splits):
            head += [f"  - split: {split}", f"    path: data/{split}-*"]
        return "\n".join([*head, "task_categories:", "- image-segmentation", "---", _CARD])


_CARD = """
# Pixel labels made from image labels

Pseudo-labels of hfpl_jax: nobody has drawn them. A pixel of `segmentation_mask` is 0 for
the background, 1, 2, ... for the class `label + 1`, and 255 where it is to be ignored;
one of `confidence` is 0 where the label is guessed and 255 where it is certain. `labels`
are the classes that the photograph is said to show.
"""


def _features(split: Split) -> dict[str, dict]:
    """As Hugging Face datasets writes them down."""
    classes = {"names": list(split.class_names), "_type": "ClassLabel"}
    features: dict[str, dict] = {"file_name": _value("string")}
    if split.first.image is not None:
        features["image"] = {"_type": "Image"}
    features["labels"] = {"feature": classes, "_type": _LIST}
    features["segmentation_mask"] = {"_type": "Image"}
    if split.first.confidence is not None:
        features["confidence"] = {"_type": "Image"}
    return features | {"height": _value("int32"), "width": _value("int32")}


def _value(dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "_type": "Value"}


def _schema(features: dict[str, dict]) -> Any:
    import pyarrow

    kinds = {
        "Image": pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
        _LIST: pyarrow.list_(pyarrow.int64()),
    }
    fields = [
        (name, kinds.get(feature["_type"]) or pyarrow.type_for_alias(feature["dtype"]))
        for name, feature in features.items()
    ]
    known = json.dumps({"info": {"features": features}})
    return pyarrow.schema(fields, metadata={"huggingface": known})


def _row(one: PseudoLabel) -> dict[str, Any]:
    height, width = one.mask.shape
    row = {
        "file_name": one.file_name,
        "labels": list(one.labels),
        "segmentation_mask": {"bytes": encode_png(one.mask), "path": None},
        "height": height,
        "width": width,
    }
    if one.image is not None:
        row["image"] = {"bytes": one.image, "path": one.file_name}
    if one.confidence is not None:
        row["confidence"] = {"bytes": encode_png(one.confidence), "path": None}
    return row
