"""Slips in a configuration that would show only in a late stage, told before the first."""

import difflib

from ml_collections import ConfigDict

from hfpl_jax.errors import InputError
from hfpl_jax.export import FORMATS
from hfpl_jax.models.segmentation_network import HEADS

_CHOICES = {
    "inference.checkpoint": ("last", "best"),
    "inference.image_labels": ("given", "predicted"),
    "export.format": FORMATS,
    "refine.method": ("", "crf", "random_walk"),
    "refine.crf_algorithm": ("lattice", "exact"),
    "segmentation.head": tuple(HEADS),
}
_AT_LEAST_ONE = (
    "train.epochs",
    "train.batch_size",
    "report.photographs",
    "run.log_every",
    "run.checkpoint_every",
    "run.keep_checkpoints",
    "run.cam_batch_size",
    "run.padded_shapes",
    "run.shard_size",
)


def check_values(config: ConfigDict) -> None:
    """Looks at the values that a late stage reads, so that a slip does not cost a training.

    Raises:
      InputError: a value that no stage can work with.
    """
    for path, choices in _CHOICES.items():
        section, field = path.split(".")
        if config[section][field] not in choices:
            close = difflib.get_close_matches(config[section][field], choices, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise InputError(
                f"config.{path} = {config[section][field]!r} is not known{hint}. Choose one of "
                f"{', '.join(choices)}."
            )
    for path in _AT_LEAST_ONE:
        section, field = path.split(".")
        if config[section][field] < 1:
            raise InputError(f"config.{path} = {config[section][field]} must be at least 1.")
    for field, least in (
        ("crf_sxy", "above 0"),
        ("crf_srgb", "above 0"),
        ("crf_weight", "at least 0"),
    ):
        for section in ("refine", "segmentation"):
            value = config[section][field]
            if value < 0 or (value == 0 and least == "above 0"):
                raise InputError(
                    f"config.{section}.{field} = {value} must be {least}. With "
                    f"config.{section}.crf_weight = 0 colours play no part."
                )
    if config.refine.walk_alpha < 0:
        raise InputError(
            f"config.refine.walk_alpha = {config.refine.walk_alpha} must be above 0, or 0 for the "
            "threshold instead."
        )
    if not config.inference.scales or min(config.inference.scales) <= 0:
        raise InputError(
            f"config.inference.scales = {config.inference.scales} must hold at least one scale, "
            "all above 0, such as (1.0,)."
        )
    if config.segmentation.epochs and (
        config.export.format != "array_record" or not config.export.image
    ):
        raise InputError(
            "The segmentation network (config.segmentation.epochs) learns from the export in "
            "random order. "
            'Set config.export.format to "array_record" and config.export.image to True.'
        )
    if config.segmentation.epochs and not config.data.val_split:
        raise InputError(
            "The segmentation network is scored on val, but config.data.val_split is empty. "
            "Name a split, or set config.segmentation.epochs to 0."
        )
    if len(config.affinity.alphas) != 2:
        raise InputError(
            f"config.affinity.alphas = {config.affinity.alphas} must be two exponents, the smaller "
            "first, such as (1, 24)."
        )
    if len(config.labels.ignore_band) not in (0, 2):
        raise InputError(
            f"config.labels.ignore_band = {config.labels.ignore_band} is neither empty nor (low, "
            "high), such as (0.2, 0.4)."
        )
    if config.labels.ignore_band and config.refine.method:
        raise InputError(
            f"config.labels.ignore_band = {config.labels.ignore_band} is a range of CAM scores, but "
            f'with config.refine.method = "{config.refine.method}" the pseudo-labels are not cut '
            "from the CAMs. Set one of the two to its empty value; the exported confidence says "
            "which pixels of a refined mask are uncertain."
        )
