"""Turns the CAMs of the labelled split into pseudo-labels: a mask and a confidence map a photograph."""

from hfpl_jax.data.example import encode_mask
from hfpl_jax.inference.pseudo_labels import confidence, pseudo_label
from hfpl_jax.records import RecordWriter, finished_records
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.scoring import cam_records


def run(context: Context) -> dict:
    threshold = read_metrics(context.workdir / "metrics")["threshold"]
    band = tuple(float(bound) for bound in context.config.labels.ignore_band) or None
    finished, next_shard = finished_records(context.folder)
    finished = set(finished)
    with RecordWriter(context.folder, shard_size=context.config.run.shard_size, first_shard=next_shard) as writer:
        for record, _ in cam_records(context, context.label_split, "pseudo-labels of"):
            if record.file_name in finished:
                continue
            mask = pseudo_label(record.cams, record.classes, threshold=threshold, ignore_band=band)
            writer.write(
                {
                    "index": record.index,
                    "file_name": record.file_name,
                    "labels": [int(label) for label in record.classes],
                    "mask": encode_mask(mask),
                    "confidence": encode_mask(confidence(record.cams, threshold=threshold)),
                }
            )
    return {"threshold": threshold}
