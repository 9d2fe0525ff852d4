"""Which fields of a configuration a stage reads: those its entry in the pipeline names,
but for the ones that something else switches off.
"""

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from hfpl_jax.build import starts_random
from hfpl_jax.errors import InputError
from hfpl_jax.methods import METHODS
from hfpl_jax.section import Switch, switches, value_of
from hfpl_jax.settings.whole import Settings

if TYPE_CHECKING:
    from hfpl_jax.stages.stage import Stage


_ALWAYS_READ = (
    "data",
    "run",
    "profile",
    "refine.name",
    "instances.enabled",
    "segmentation.epochs",
    "neighbours.enabled",
    "pretrain.epochs",
)
"""By the preparation of the data, by how the work is done, and by the choice of
stages.
"""

SWITCHES = (
    Switch(
        (
            "train.resize_long",
            "train.jitter",
            "train.freeze_*",
            "model.frozen_batch_norm",
        ),
        lambda config, _: not METHODS[config.method.name].frozen,
        "a method that learns from photographs",
    ),
    Switch(
        ("model.*.drop_path",),
        lambda config, section: (
            not METHODS[config.method.name].frozen or section not in ("", "train")
        ),
        "a method whose backbone learns, or another network that is trained from it",
    ),
    Switch(
        ("model.weights",),
        lambda config, section: not section or not value_of(config, section).init_from,
        "a training whose init_from is empty",
    ),
    Switch(
        ("*.freeze_*", "model.frozen_batch_norm", "segmentation.frozen_batch_norm"),
        lambda config, section: not starts_random(config, section),
        "weights to start from in config.model.weights",
    ),
    Switch(
        ("*.no_decay",),
        lambda config, section: value_of(config, section).weight_decay > 0,
        "a weight_decay above 0",
    ),
    Switch(
        ("segmentation.batch_norm_momentum",),
        lambda config, section: (
            not config.segmentation.frozen_batch_norm or starts_random(config, section)
        ),
        "config.segmentation.frozen_batch_norm = False",
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
        ("labels.threshold", "labels.default_threshold"),
        lambda config, _: METHODS[config.method.name].threshold is None,
        "a method that needs a threshold",
    ),
    Switch(
        ("labels.default_threshold",),
        lambda config, _: config.labels.threshold == "train",
        "config.labels.threshold = 'train'",
    ),
)


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def matches(path: str, names: Iterable[str]) -> bool:
    """Whether a field is one of `names`, or of the sections among them."""
    return any(
        fnmatch.fnmatchcase(path, name) or fnmatch.fnmatchcase(path, f"{name}.*") for name in names
    )


def all_switches() -> tuple[Switch, ...]:
    """With those of what a choice may name, which stand beside each."""
    return (*SWITCHES, *switches(Settings))


def missing_switch(
    path: str, config: ConfigDict, training: str, known: Sequence[Switch] | None = None
) -> str:
    """The condition that a field lacks for a stage to read it; "" if it lacks none.
    `training` is the section of the training that the stage is, "" of other stages;
    `known` are `all_switches`, from who asks about many fields.
    """
    for switch in all_switches() if known is None else known:
        if matches(path, switch.fields) and not switch.on(config, training):
            return switch.words
    return ""


def check_read(
    config: ConfigDict,
    recipe: ConfigDict,
    stages: Sequence["Stage"],
    runs: Sequence[ConfigDict] = (),
) -> None:
    """Raises an InputError for a field that differs from the recipe though no stage of
    the configuration reads it.

    Args:
      config: what is to run.
      recipe: as its file returns it.
      stages: all that there are.
      runs: what is run in place of `config`, where several runs are made of it: one of
        them has to read the field.
    """
    theirs = {path: value_of(recipe, path) for path in leaves(recipe)}
    for path in leaves(config):
        value = value_of(config, path)
        if path not in theirs or theirs[path] == value:
            continue
        lacking = [_lacking(path, run, stages) for run in runs or (config,)]
        if all(lacking):
            raise InputError(
                f"config.{path} = {value!r} has no effect: it is read only with {lacking[0]}. Set "
                f"that too, or leave the field at the recipe's {theirs[path]!r}."
            )


def _lacking(path: str, config: ConfigDict, stages: Sequence["Stage"]) -> str:
    """What would make a field read that nothing reads; "" for all others."""
    if matches(path, _ALWAYS_READ):
        return ""
    conditions = [
        missing_switch(path, config, stage.training)
        or ("" if stage.wanted(config) else stage.wanted_with)
        for stage in stages
        if stage.names(path, config)
    ]
    return ", or with ".join(dict.fromkeys(conditions)) if all(conditions) else ""


def check_profile(config: ConfigDict, stages: Sequence["Stage"]) -> None:
    """Raises an InputError where config.profile names nothing that can be traced."""
    traced = [stage.name for stage in stages if stage.wanted(config) and stage.traced(config)]
    if not config.profile or config.profile in traced:
        return
    known = config.profile in {stage.name for stage in stages}
    raise InputError(
        f"config.profile = {config.profile!r} "
        f"{'names a stage that traces nothing in this configuration' if known else 'is no stage'}. "
        f"Choose the one to trace from {', '.join(traced)}."
    )
