"""No refinement: a pixel belongs to the strongest class whose CAM exceeds the background
score.
"""

import dataclasses
from typing import ClassVar

from hfpl_jax.errors import InputError
from hfpl_jax.inference.pseudo_labels import confidence, pseudo_label
from hfpl_jax.refine.refiner import HostRefiner, Photograph, Refined
from hfpl_jax.setting import Rule, setting

_band = Rule(
    "empty, or (low, high) with 0 <= low <= high <= 1, such as (0.2, 0.4)",
    lambda band: not band or (len(band) == 2 and 0 <= band[0] <= band[1] <= 1),
    example=False,
)


@dataclasses.dataclass(frozen=True)
class Threshold(HostRefiner):
    """Pseudo-labels straight from the CAMs and their threshold."""

    path: ClassVar[str] = "refine.threshold"
    scored: ClassVar[bool] = False

    ignore_band: tuple[float, ...] = setting(
        (), "(low, high): pixels whose best score lies between become 255; () for none", _band
    )

    def refine(self, photograph: Photograph) -> Refined:
        _, cams, classes, threshold = photograph
        mask = pseudo_label(cams, classes, threshold=threshold, ignore_band=self.band)
        return Refined(mask, confidence(cams, threshold=threshold))

    @property
    def band(self) -> tuple[float, float] | None:
        if not self.ignore_band:
            return None
        low, high = self.ignore_band
        return low, high

    def check(self, *, threshold: float | None, output_stride: int) -> None:
        if threshold is not None and self.band and not self.band[0] <= threshold <= self.band[1]:
            raise InputError(
                f"config.{self.path}.ignore_band = {self.band} does not hold the background "
                f"threshold, {threshold:g}, which is config.labels.threshold or the method's "
                "own. Choose low <= threshold <= high."
            )

    def said(self) -> str:
        if not self.band:
            return "CAMs above the threshold"
        return "CAMs above the threshold, ignored from {:g} to {:g}".format(*self.band)
