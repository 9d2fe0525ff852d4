"""The part of the labelled split that is scored, checked once the dataset is
prepared.
"""

from ml_collections import ConfigDict

from hfpl_jax.data.dataset import Dataset
from hfpl_jax.data.index import entries_of
from hfpl_jax.errors import InputError


def check_score_split(data: ConfigDict, dataset: Dataset) -> None:
    """Compares `config.data.score_split` with the split that gets CAMs.

    Args:
      data: the configuration's section of that name.
      dataset: the prepared one.

    Raises:
      InputError: photographs are to be scored that get no CAMs.
    """
    labelled = data.label_split or data.train_split
    if data.score_split in ("", labelled):
        return
    with_cams = {entry.file_name for entry in entries_of(dataset.split(labelled))}
    scored = [entry.file_name for entry in entries_of(dataset.split(data.score_split))]
    without = [name for name in scored if name not in with_cams]
    if without:
        field = "label_split" if data.label_split else "train_split"
        raise InputError(
            f"config.data.score_split = {data.score_split!r} is to be a part of {labelled!r} "
            f"(config.data.{field}), whose photographs get the CAMs that are scored, but "
            f"{len(without)} of its {len(scored)} photographs are not in it, such as {without[0]}. "
            f'Name a part of {labelled!r}, or set it to "" for all of {labelled!r}.'
        )
