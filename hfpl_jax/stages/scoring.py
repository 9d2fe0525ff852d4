"""Walks over the CAM records of a split, beside the photographs they were made from."""

from collections.abc import Iterator

from hfpl_jax.data.dataset import Example
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.progress import track
from hfpl_jax.records import RecordReader
from hfpl_jax.stages.context import Context


def cam_records(context: Context, split: str, description: str) -> Iterator[tuple[CamRecord, Example]]:
    """Every CAM record of `split` with its photograph.

    Raises:
      InputError: records are missing, or belong to other photographs.
    """
    examples, records = context.dataset.split(split), RecordReader(context.workdir / "cams" / split)
    if len(records) != len(examples):
        raise InputError(
            f"There are CAMs of {len(records)} photographs in {context.workdir / 'cams' / split}, "
            f"but the split {split!r} has {len(examples)}. "
            "Delete the folder cams in the workdir and run the stage cams again."
        )
    for index in track(range(len(records)), f"{description} {split}", len(records)):
        record = CamRecord.decode(records[index])
        example = examples[record.index]
        if example.file_name != record.file_name:
            raise InputError(
                f"The CAMs of {record.file_name} stand where the dataset has {example.file_name}. "
                "Delete the folder cams in the workdir and run the stage cams again."
            )
        yield record, example
