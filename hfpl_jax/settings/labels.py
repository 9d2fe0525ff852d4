"""The settings of inference, thresholds and refinement: from a trained classifier to
pseudo-labels.
"""

import dataclasses
from typing import ClassVar

from hfpl_jax.errors import did_you_mean
from hfpl_jax.refine import REFINERS
from hfpl_jax.refine.refiner import Refiner
from hfpl_jax.section import Section
from hfpl_jax.setting import Rule, above, at_least, choice, from_to_below, one_of, setting, some

TRAIN = "train"
"""Of config.labels.threshold: chosen on training photographs."""


def given_threshold(text: str) -> float | None:
    """The number in config.labels.threshold; None if none from 0 to below 1 is
    there.
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value < 1.0 else None


def _alike(text: str) -> str:
    point = text.replace(",", ".")  # as half the world writes numbers
    return did_you_mean(text, (TRAIN,) if given_threshold(point) is None else (point,))


_threshold = Rule(
    '"train" or a number in quotes, with a point, at least 0 and below 1',
    lambda text: text == TRAIN or given_threshold(text) is not None,
    _alike,
)


@dataclasses.dataclass(frozen=True)
class Inference(Section):
    """From the classifier to CAMs."""

    path: ClassVar[str] = "inference"

    image_labels: str = setting("given", "whose CAMs are made", one_of("given", "predicted"))
    scales: tuple[float, ...] = setting(
        (0.5, 1.0, 1.5, 2.0), "sizes at which a photograph is looked at", some(above(0))
    )
    long_side: int = setting(
        0, "pixels of the long side at scale 1; 0 for the photograph's own size", at_least(0)
    )
    flip: bool = setting(True, "whether mirrored photographs are looked at too")


@dataclasses.dataclass(frozen=True)
class Labels(Section):
    """The threshold of the CAMs."""

    path: ClassVar[str] = "labels"

    threshold: str = setting(
        TRAIN,
        'background score: "train" for the best mIoU on train, or a number such as "0.25"',
        _threshold,
    )
    default_threshold: float = setting(
        0.25, 'for "train" where no training photograph has a mask', from_to_below(0, 1)
    )


@dataclasses.dataclass(frozen=True)
class Refine(Section):
    """From CAMs to pseudo-labels."""

    path: ClassVar[str] = "refine"

    own: Refiner = dataclasses.field(kw_only=True)
    name: str = choice("threshold", "what makes masks of CAMs", REFINERS)
