"""Refinement by regions: a photograph is cut into superpixels, those that are alike are
merged, and each region is of one class. Nothing is trained.

Source: see `region_merging`; that a region takes the class of the largest mean CAM is
our reading.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from hfpl_jax.refine.background import threshold_background
from hfpl_jax.refine.over_segmentation import lab_of, superpixels
from hfpl_jax.refine.refiner import HostRefiner, Photograph, Refined, most_probable
from hfpl_jax.refine.region_merging import LAST, TAU, grown_regions, means_of
from hfpl_jax.setting import above, at_least, setting, within


@dataclasses.dataclass(frozen=True)
class Superpixels(HostRefiner):
    """Refinement by regions that grow from superpixels."""

    path: ClassVar[str] = "refine.superpixels"

    count: int = setting(1000, "superpixels of a photograph at most", at_least(1))
    tau: float = setting(
        TAU, "difference of colours, as a share of black to white, that still is alike", above(0)
    )
    last: float = setting(
        LAST,
        "score down to which neighbours merge; the lower, the larger the regions",
        within(0, 2),
    )

    def refine(self, photograph: Photograph) -> Refined:
        """Of each region the class of the largest mean CAM, where that is above the
        threshold; its lead over the next, as a share of all, is the confidence.
        """
        image, cams, classes, threshold = photograph
        pieces = superpixels(image, self.count)
        regions = grown_regions(lab_of(image), pieces, tau=self.tau, last=self.last)[pieces]
        scores, _ = means_of(threshold_background(cams, threshold), regions)
        shares = (scores / scores.sum(axis=-1, keepdims=True)).astype(np.float32)
        return most_probable(shares[regions], classes)

    def said(self) -> str:
        return f"regions of up to {self.count} superpixels, merged down to a score of {self.last:g}"
