"""The settings of inference, thresholds and refinement: from a trained classifier to
pseudo-labels.
"""

import dataclasses
from typing import Any, ClassVar

from hfpl_jax.errors import InputError, did_you_mean
from hfpl_jax.refine.crf_settings import CrfSettings
from hfpl_jax.section import Section
from hfpl_jax.setting import (
    Rule,
    above,
    at_least,
    from_to_below,
    one_of,
    setting,
    some,
)

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
_band = Rule(
    "empty, or (low, high) with 0 <= low <= high <= 1, such as (0.2, 0.4)",
    lambda band: not band or (len(band) == 2 and 0 <= band[0] <= band[1] <= 1),
    example=False,
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
    """From CAMs to pseudo-labels."""

    path: ClassVar[str] = "labels"

    threshold: str = setting(
        TRAIN,
        'background score: "train" for the best mIoU on train, or a number such as "0.25"',
        _threshold,
    )
    default_threshold: float = setting(
        0.25, 'for "train" where no training photograph has a mask', from_to_below(0, 1)
    )
    ignore_band: tuple[float, ...] = setting(
        (), "(low, high): pixels whose best score lies between become 255; () for none", _band
    )

    def __post_init__(self):
        super().__post_init__()
        threshold = given_threshold(self.threshold)
        if threshold is None or not self.ignore_band:
            return
        low, high = self.ignore_band
        if not low <= threshold <= high:
            raise InputError(
                f"config.labels.ignore_band = ({low}, {high}) does not hold "
                f"config.labels.threshold = {self.threshold!r}. Choose low <= threshold <= high."
            )


_CRF = CrfSettings()


def crf_sxy() -> Any:
    comment = "pixels that the kernel which follows colours reaches"
    return setting(_CRF.bilateral_sxy, comment, above(0))


def crf_srgb() -> Any:
    comment = (
        "grey levels that this kernel distinguishes; with 13 objects whose colours are near those "
        "of their background are lost to it"
    )
    return setting(_CRF.bilateral_srgb, comment, above(0))


def crf_weight() -> Any:
    return setting(_CRF.bilateral_weight, "of this kernel against the maps", at_least(0))


@dataclasses.dataclass(frozen=True)
class Refine(Section):
    """What happens to CAMs before they become pseudo-labels."""

    path: ClassVar[str] = "refine"

    method: str = setting(
        "",
        '"" for the threshold alone, random_walk for AffinityNet\'s walk',
        one_of("", "crf", "random_walk"),
    )
    crf_algorithm: str = setting(
        "lattice", "lattice on the CPU, exact on an accelerator", one_of("lattice", "exact")
    )
    crf_iterations: int = setting(_CRF.iterations, "of the mean field", at_least(1))
    crf_sxy: float = crf_sxy()
    crf_srgb: float = crf_srgb()
    crf_weight: float = crf_weight()
    walk_alpha: float = setting(
        0.0,
        "background score (1 - strongest CAM)^alpha of the walk; 0 for the threshold instead",
        at_least(0),
    )
    walk_beta: int = setting(8, "exponent of the affinities", at_least(1))
    walk_steps: int = setting(64, "of the walk", at_least(0))
