"""The splits that a configuration names, looked at as soon as the dataset is prepared."""

from ml_collections import ConfigDict

from hfpl_jax.data.dataset import Dataset
from hfpl_jax.errors import InputError

_FIELDS = ("train_split", "label_split", "score_split", "val_split")


def check_splits(data: ConfigDict, dataset: Dataset) -> None:
    """Raises an InputError for a split that does not exist, and for photographs to be
    scored that no stage makes CAMs of.

    Args:
      data: the configuration's section of that name.
      dataset: the prepared one.
    """
    for field in _FIELDS:
        if data[field] and data[field] not in dataset.splits:
            raise InputError(
                f"config.data.{field} = {data[field]!r} is no split of {dataset.name}. It has "
                f"{', '.join(dataset.splits)}."
            )
    labelled = data.label_split or data.train_split
    if data.score_split in ("", labelled):
        return
    with_cams = {example.file_name for example in dataset.split(labelled)}
    scored = [example.file_name for example in dataset.split(data.score_split)]
    without = [name for name in scored if name not in with_cams]
    if without:
        field = "label_split" if data.label_split else "train_split"
        raise InputError(
            f"config.data.score_split = {data.score_split!r} is to be a part of {labelled!r} "
            f"(config.data.{field}), whose photographs get the CAMs that are scored, but "
            f"{len(without)} of its {len(scored)} photographs are not in it, such as {without[0]}. "
            f'Name a part of {labelled!r}, or set it to "" for all of {labelled!r}.'
        )
