"""The settings that every training has: a section of a configuration to derive from."""

import dataclasses
from typing import ClassVar

from hfpl_jax.section import Section
from hfpl_jax.setting import Rule, above, at_least, from_to_below, patterns, setting

_factors = Rule(
    "pairs (pattern, factor) whose factors are at least 0",
    lambda pairs: all(factor >= 0 for _, factor in pairs),
)


def stage_of(section: str) -> str:
    """Name of the stage that trains, from the dotted name of its settings."""
    return section.rpartition(".")[2]


@dataclasses.dataclass(frozen=True)
class Training(Section):
    """The fields that every training has. The last part of its `path` is the name of its
    stage.

    Attributes:
      has_classes: whether the network predicts the classes of the dataset.
    """

    has_classes: ClassVar[bool] = True

    init_from: str = setting(
        "", "the folder of this stage in a finished run, to start from its parameters"
    )
    epochs: int = setting(4, "passes over the photographs", at_least(1))
    batch_size: int = setting(16, "over all devices", at_least(1))
    crop_size: int = setting(448, "side of a crop in pixels", at_least(1))
    learning_rate: float = setting(0.05, "of the first step", above(0))
    power: float = setting(0.9, "of the polynomial schedule", at_least(0))
    momentum: float = setting(0.0, "of SGD", from_to_below(0, 1))
    weight_decay: float = setting(5e-4, "of SGD", at_least(0))
    clip: float = setting(
        10.0,
        "largest norm of a gradient; a longer one is shortened to it; 0 for none",
        at_least(0),
    )
    skip_above: float = setting(
        20.0,
        "a step whose gradient is more than so many times as long as the median of the last 64 "
        "is skipped; 0 for none",
        at_least(0),
    )
    no_decay: tuple[str, ...] = setting(
        (), "patterns of the paths of parameters that are not decayed", patterns
    )
    multipliers: tuple[tuple[str, float], ...] = setting(
        ((r"^(?!backbone/)", 10.0),),
        "of the learning rate: (pattern in the parameter's path, factor)",
        patterns,
        _factors,
    )
    freeze_stages: int = setting(
        2,
        "first stages of the backbone that stay as they are in the weight file: of a ResNet 1 is "
        "the stem, 2 layer1 as well",
        at_least(0),
    )
    freeze_norms: bool = setting(
        True, "whether scales and biases of normalisations stay as they are in the weight file"
    )

    @property
    def stage(self) -> str:
        return stage_of(self.path)
