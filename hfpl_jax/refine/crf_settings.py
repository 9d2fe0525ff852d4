"""What a fully connected CRF is told: iterations, and the reach and weight of its two kernels."""

import dataclasses
import math

from hfpl_jax.errors import InputError

LEAST_PROBABILITY = 1e-5
"""The unary term is -log(max(p, 1e-5)), as pydensecrf's unary_from_softmax has it."""


@dataclasses.dataclass(frozen=True)
class CrfSettings:
    """Settings of the CRF; the defaults are the published ones for refining CAMs of VOC and COCO.

    The published inference of the final segmentation network takes iterations=1, bilateral_sxy=32.

    Attributes:
      iterations: of the mean field.
      gaussian_sxy: standard deviation of the smoothness kernel, in pixels.
      gaussian_weight: how much a pixel's neighbourhood counts; the unary term is in nats.
      bilateral_sxy: standard deviation of the appearance kernel, in pixels.
      bilateral_srgb: the same in colour, in grey levels of 0 ... 255.
      bilateral_weight: how much pixels of similar place and colour count.

    Raises:
      InputError: a value is out of range.
    """

    iterations: int = 10
    gaussian_sxy: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sxy: float = 80.0
    bilateral_srgb: float = 13.0
    bilateral_weight: float = 10.0

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
