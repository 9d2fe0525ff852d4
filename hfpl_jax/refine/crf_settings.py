"""What a fully connected CRF is told: iterations, and the reach and weight of its two
kernels.
"""

import dataclasses
import math

from hfpl_jax.errors import InputError

LEAST_PROBABILITY = 1e-5
"""The unary term is -log(max(p, 1e-5)), as pydensecrf's unary_from_softmax has it."""


@dataclasses.dataclass(frozen=True)
class CrfSettings:
    """Settings of the CRF. The defaults, reach and weight of the appearance kernel
    those of DeepLab, are what a configuration starts from: for CAMs and for the final
    network.

    The published program has a kernel that takes objects for their background where
    both are alike: 80 pixels, 13 grey levels and weight 10 for CAMs (`PUBLISHED_CRF`),
    32 pixels and one iteration for the final network.

    Attributes:
      iterations: of the mean field.
      gaussian_sxy: standard deviation of the smoothness kernel, in pixels.
      gaussian_weight: how much a pixel's neighbourhood counts; the unary term is in
        nats.
      bilateral_sxy: standard deviation of the appearance kernel, in pixels.
      bilateral_srgb: the same in colour, in grey levels of 0 ... 255.
      bilateral_weight: how much pixels of similar place and colour count.

    Raises:
      InputError: a value is out of range.
    """

    iterations: int = 10
    gaussian_sxy: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sxy: float = 67.0
    bilateral_srgb: float = 3.0
    bilateral_weight: float = 4.0

    def __post_init__(self):
        if self.iterations < 1:
            raise InputError(
                f"CrfSettings.iterations is {self.iterations}; the mean field needs at least 1 (10 "
                "were published)."
            )
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(
                    f"CrfSettings.{name} is {getattr(self, name)}; it must be positive. A weight "
                    "of 0 switches a kernel off."
                )
        for name in ("gaussian_weight", "bilateral_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"CrfSettings.{name} is {getattr(self, name)}; a weight is at least 0."
                )


PUBLISHED_CRF = CrfSettings(bilateral_sxy=80.0, bilateral_srgb=13.0, bilateral_weight=10.0)
"""What the published program refines CAMs of VOC and COCO with."""
