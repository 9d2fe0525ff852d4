"""Which fields of a configuration a stage reads: those its entry in the pipeline names,
but for the ones that something else switches off.
"""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Iterator

from ml_collections import ConfigDict

from hfpl_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Switch:
    """Fields that are read only under a condition.

    Attributes:
      fields: their dotted names; "*" stands for anything.
      on: whether the stage of this name reads them.
      words: the condition, as a message says it.
    """

    fields: tuple[str, ...]
    on: Callable[[ConfigDict, str], bool]
    words: str


def _starts_random(config: ConfigDict, training: str) -> bool:
    """Whether a training starts from random numbers, so that nothing of it is frozen."""
    return config.model.weights == "random" and not config[training].init_from


SWITCHES = (
    Switch(
        ("model.version",),
        lambda config, _: config.model.depth in (50, 101),
        "config.model.depth = 50 or 101",
    ),
    Switch(
        ("model.dilation",),
        lambda config, _: config.model.depth != 38 and config.model.output_stride < 32,
        "a ResNet whose config.model.output_stride is below 32",
    ),
    Switch(
        ("model.weights",),
        lambda config, stage: not config[stage].init_from,
        "a training whose init_from is empty",
    ),
    Switch(
        ("*.freeze", "model.frozen_batch_norm", "segmentation.frozen_batch_norm"),
        lambda config, stage: not _starts_random(config, stage),
        "weights to start from in config.model.weights",
    ),
    Switch(
        ("*.no_decay",),
        lambda config, stage: config[stage].weight_decay > 0,
        "a weight_decay above 0",
    ),
    Switch(
        ("segmentation.batch_norm_momentum",),
        lambda config, stage: (
            not config.segmentation.frozen_batch_norm or _starts_random(config, stage)
        ),
        "config.segmentation.frozen_batch_norm = False",
    ),
    Switch(
        ("method.view_scale", "method.peak_floor"),
        lambda config, _: config.method.name == "seam",
        "config.method.name = 'seam'",
    ),
    Switch(
        ("hfpl.num_samples",),
        lambda config, _: config.hfpl.isl_weight > 0,
        "config.hfpl.isl_weight above 0",
    ),
    Switch(
        ("hfpl.mu", "hfpl.sigma", "hfpl.window", "hfpl.peak_floor"),
        lambda config, _: config.hfpl.fsl_weight > 0,
        "config.hfpl.fsl_weight above 0",
    ),
    Switch(
        ("labels.default_threshold",),
        lambda config, _: config.labels.threshold == "train",
        "config.labels.threshold = 'train'",
    ),
    Switch(
        ("labels.ignore_band",),
        lambda config, _: not config.refine.method,
        "config.refine.method = ''",
    ),
    Switch(
        ("refine.crf_sxy", "refine.crf_srgb"),
        lambda config, _: config.refine.crf_weight > 0,
        "config.refine.crf_weight above 0",
    ),
    Switch(
        ("refine.walk_*", "affinity.alphas"),
        lambda config, _: config.refine.method == "random_walk",
        "config.refine.method = 'random_walk'",
    ),
    Switch(
        ("refine.crf_algorithm", "segmentation.crf_*"),
        lambda config, stage: stage != "predictions" or config.segmentation.crf_iterations > 0,
        "config.segmentation.crf_iterations above 0",
    ),
)


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def value_of(config: ConfigDict, path: str):
    for name in path.split("."):
        config = config[name]
    return config


def matches(path: str, names: Iterable[str]) -> bool:
    """Whether a field is one of `names`, or of the sections among them."""
    return any(
        fnmatch.fnmatchcase(path, name) or fnmatch.fnmatchcase(path, f"{name}.*") for name in names
    )


def missing_switch(path: str, config: ConfigDict, stage: str) -> str:
    """The condition that a field lacks for `stage` to read it; "" if it lacks none."""
    for switch in SWITCHES:
        if matches(path, switch.fields) and not switch.on(config, stage):
            return switch.words
    return ""


def refuse_unread(
    config: ConfigDict, recipe: ConfigDict, why_unread: Callable[[str], str | None]
) -> None:
    """Raises an InputError for a field that differs from the recipe and has no effect.

    Args:
      config: what is to run.
      recipe: as its file returns it.
      why_unread: of a field that nothing reads the condition that it lacks; None of all
        others.
    """
    theirs = {path: value_of(recipe, path) for path in leaves(recipe)}
    for path in leaves(config):
        value = value_of(config, path)
        if path in theirs and theirs[path] != value and (condition := why_unread(path)):
            raise InputError(
                f"config.{path} = {value!r} has no effect: it is read only with {condition}. Set "
                f"that too, or leave the field at the recipe's {theirs[path]!r}."
            )
