"""Writes the pseudo-labels as a dataset for the next network."""

from collections.abc import Iterator

from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.export import PseudoLabel, export
from hfpl_jax.progress import track
from hfpl_jax.records import RecordReader
from hfpl_jax.stages.context import Context


def run(context: Context) -> dict:
    settings, records = context.config.export, RecordReader(context.workdir / "labels" / context.label_split)
    path = export(
        _pseudo_labels(context, records),
        context.folder,
        format=settings.format,
        class_names=context.dataset.class_names,
        split=context.label_split,
        total=len(records),
    )
    return {"path": str(path), "format": settings.format, "records": len(records)}


def _pseudo_labels(context: Context, records: RecordReader) -> Iterator[PseudoLabel]:
    settings, examples = context.config.export, context.dataset.split(context.label_split)
    for index in track(range(len(records)), "export", len(records)):
        record = records[index]
        name = record["file_name"]
        yield PseudoLabel(
            file_name=name,
            image=examples[record["index"]].image if settings.image else None,
            labels=tuple(record["labels"]),
            mask=decode_mask(record["mask"], name),
            confidence=decode_mask(record["confidence"], name) if settings.confidence else None,
        )
