"""Writes the pseudo-labels as a dataset for the next network."""

from collections.abc import Iterator

from hfpl_jax import distributed
from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.export import PseudoLabel, export
from hfpl_jax.progress import track
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.pairs import Pairs


def run(context: Context) -> dict:
    if not distributed.is_first():
        return {}
    settings, pairs = context.config.export, Pairs(context, "labels", context.label_split)
    path = export(
        _pseudo_labels(context, pairs),
        context.folder,
        format=settings.format,
        class_names=context.dataset.class_names,
        split=context.label_split,
        total=len(pairs),
    )
    return {"path": str(path), "format": settings.format, "records": len(pairs)}


def _pseudo_labels(context: Context, pairs: Pairs) -> Iterator[PseudoLabel]:
    settings = context.config.export
    for record, example in track(pairs, "export", len(pairs)):
        name = record["file_name"]
        yield PseudoLabel(
            file_name=name,
            image=example.image if settings.image else None,
            labels=tuple(record["labels"]),
            mask=decode_mask(record["mask"], name),
            confidence=decode_mask(record["confidence"], name) if settings.confidence else None,
        )
