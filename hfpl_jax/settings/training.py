"""The settings of the three trainings: classifier, AffinityNet, final network."""

import dataclasses
from typing import Any, ClassVar

from hfpl_jax.models.segmentation_network import HEADS
from hfpl_jax.section import Section
from hfpl_jax.setting import (
    Rule,
    above,
    above_up_to,
    ascending,
    at_least,
    from_to_below,
    one_of,
    patterns,
    setting,
    some,
)
from hfpl_jax.settings.labels import crf_srgb, crf_sxy, crf_weight

_HEAD_FASTER = (r"^(?!backbone/)", 10.0)


_factors = Rule(
    "pairs (pattern, factor) whose factors are at least 0",
    lambda pairs: all(factor >= 0 for _, factor in pairs),
)


def _multipliers(*default: tuple[str, float]) -> Any:
    comment = "of the learning rate: (pattern in the parameter's path, factor)"
    return setting(default, comment, patterns, _factors)


def _learning_rate(default: float) -> Any:
    return setting(default, "of the first step", above(0))


def _no_decay(*default: str) -> Any:
    comment = "patterns of the paths of parameters that are not decayed"
    return setting(default, comment, patterns)


def _freeze_stages(default: int) -> Any:
    comment = (
        "first stages of the backbone that stay as they are in the weight file: of a ResNet 1 is "
        "the stem, 2 layer1 as well"
    )
    return setting(default, comment, at_least(0))


@dataclasses.dataclass(frozen=True)
class Training(Section):
    """The fields that every training has."""

    init_from: str = setting(
        "", "the folder of this stage in a finished run, to start from its parameters"
    )
    epochs: int = setting(4, "passes over the photographs", at_least(1))
    batch_size: int = setting(16, "over all devices", at_least(1))
    crop_size: int = setting(448, "side of a crop in pixels", at_least(1))
    learning_rate: float = _learning_rate(0.05)
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
    no_decay: tuple[str, ...] = _no_decay()
    multipliers: tuple[tuple[str, float], ...] = _multipliers(_HEAD_FASTER)
    freeze_stages: int = _freeze_stages(2)
    freeze_norms: bool = setting(
        True, "whether scales and biases of normalisations stay as they are in the weight file"
    )


@dataclasses.dataclass(frozen=True)
class Train(Training):
    """Training of the classifier."""

    path: ClassVar[str] = "train"

    resize_long: tuple[int, int] = setting(
        (448, 768), "range of the long side in pixels", ascending(at_least(1))
    )
    jitter: bool = setting(True, "whether colours are jittered")


@dataclasses.dataclass(frozen=True)
class Affinity(Training):
    """Training of AffinityNet, with refine.method = "random_walk"."""

    path: ClassVar[str] = "affinity"

    epochs: int = setting(8, "passes over the photographs", at_least(1))
    learning_rate: float = _learning_rate(0.01)
    alphas: tuple[float, float] = setting(
        (1.0, 24.0),
        "exponents of the background scores (1 - strongest CAM)^alpha that give sure foreground "
        "and sure background",
        ascending(above(0)),
    )


@dataclasses.dataclass(frozen=True)
class Segmentation(Training):
    """Training of the final network on the exported pseudo-labels; its inference."""

    path: ClassVar[str] = "segmentation"

    epochs: int = setting(0, "passes over the pseudo-labels; 0 for no final network", at_least(0))
    learning_rate: float = _learning_rate(0.001)
    momentum: float = setting(0.9, "of SGD", from_to_below(0, 1))
    no_decay: tuple[str, ...] = _no_decay("/bias$")
    multipliers: tuple[tuple[str, float], ...] = _multipliers(
        (r"^head/.*/bias$", 20.0), (r"^head/", 10.0), (r"/bias$", 2.0)
    )
    freeze_stages: int = _freeze_stages(0)
    head: str = setting("deeplab_v2", "v1 has a large field of view", one_of(*HEADS))
    frozen_batch_norm: bool = setting(
        False, "statistics of the file, not of the batch; of no effect with random weights"
    )
    batch_norm_momentum: float = setting(
        0.0003,
        "share of a batch in the running statistics, where they are not frozen",
        above_up_to(0, 1),
    )
    scale_range: tuple[float, float] = setting(
        (0.5, 1.5),
        "range of the factor by which a photograph is resized",
        ascending(above(0)),
    )
    scales: tuple[float, ...] = setting(
        (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), "at inference, mirrored too", some(above(0))
    )
    long_side: int = setting(
        0, "pixels of the long side at scale 1; 0 for the photograph's own size", at_least(0)
    )
    crf_iterations: int = setting(1, "of the CRF on its label maps; 0 for none", at_least(0))
    crf_sxy: float = crf_sxy()
    crf_srgb: float = crf_srgb()
    crf_weight: float = crf_weight()
