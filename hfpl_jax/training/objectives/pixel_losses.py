"""What the final network's logits are held against label maps by: the losses by name. A
new one is a class here and a line in the table.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import jax
import jax.numpy as jnp

from hfpl_jax.errors import InputError
from hfpl_jax.losses import locally_adaptive_loss
from hfpl_jax.losses.cross_entropy import segmentation_loss
from hfpl_jax.resize import resize_bilinear, taps
from hfpl_jax.section import Section, Switch
from hfpl_jax.setting import above, at_least, one_of, setting
from hfpl_jax.shapes import Array, Float, UInt8, typed


@dataclasses.dataclass(frozen=True)
class PixelLoss(Section):
    """Base of the losses, whose fields are settings beside those of the training."""

    def value(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """A scalar.

        Args:
          logits: float32 [b, h, w, k] at the network's resolution, background first.
          labels: uint8 [b, H, W] at the crop's: 0 ... k - 1, or 255.
        """
        raise NotImplementedError

    def check(self, crop_size: int, output_stride: int) -> None:
        """Raises an InputError where it cannot be of logits of so large a crop."""

    def said(self) -> str:
        """What the report says of it; "" for nothing."""
        return ""


@dataclasses.dataclass(frozen=True)
class CrossEntropy(PixelLoss):
    """The cross-entropy of every pixel of the crop; the logits are enlarged bilinearly
    with aligned corners, as in the published final stage.
    """

    path: ClassVar[str] = "segmentation.cross_entropy"

    def value(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        enlarged = resize_bilinear(logits, labels.shape[1:], align_corners=True)
        return segmentation_loss(enlarged, labels)


@typed
def nearest_labels(
    labels: UInt8[Array, "b H W"], size: tuple[int, ...]
) -> UInt8[jax.Array, "b h w"]:
    """The label at each cell of a map of `size` (rows, columns): that of the pixel
    nearest to where the cell lies once the map is enlarged with aligned corners.
    """
    rows, columns = (
        lower + (fraction >= 0.5)
        for lower, _, fraction in (
            taps(labels.shape[1 + axis], size[axis], align_corners=True) for axis in (0, 1)
        )
    )
    return jnp.asarray(labels)[:, rows][:, :, columns]


@dataclasses.dataclass(frozen=True)
class Lal(PixelLoss):
    """The locally adaptive loss of windows of neighbouring cells.

    It works where the logits are, and the labels come there by the nearest pixel: so its
    windows are large in pixels, and the logits are not enlarged. At the crop's resolution
    it would cost the square of the output stride as much.
    """

    path: ClassVar[str] = "segmentation.lal"
    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            ("segmentation.lal.stride", "segmentation.lal.sigma"),
            lambda config, _: config.segmentation.lal.mode == "center",
            "config.segmentation.lal.mode = 'center'",
        ),
    )

    mode: str = setting(
        "center",
        "the class of a window's centre, or in windows that do not overlap every class",
        one_of("center", "per_class"),
    )
    window: int = setting(7, "cells of the logits along its edge", at_least(1))
    stride: int = setting(1, "cells from a centre to the next one", at_least(1))
    sigma: float = setting(
        2.0, "of the weights around a centre, in cells, by chessboard distance", above(0)
    )
    k: float = setting(
        5.0, "of the Minkowski mean over the windows: 1 is the plain mean", at_least(1)
    )

    def value(self, logits: jax.Array, labels: jax.Array) -> Float[jax.Array, ""]:
        return locally_adaptive_loss(
            logits, nearest_labels(labels, logits.shape[1:3]), **dataclasses.asdict(self)
        )

    def check(self, crop_size: int, output_stride: int) -> None:
        cells = -(-crop_size // output_stride)
        field = f"config.segmentation.lal.window = {self.window}"
        odd = " and odd" if self.mode == "center" else ""
        if self.window > cells:
            raise InputError(
                f"{field} does not fit into the logits of a crop, {cells} x {cells} cells of "
                f"{output_stride} pixels. Set it to {cells} at most{odd}, or make "
                "config.segmentation.crop_size larger."
            )
        if odd and self.window % 2 == 0:
            raise InputError(
                f"{field} has no cell in its centre, which config.segmentation.lal.mode = "
                f"'center' takes the class of. Set it to {self.window - 1} or {self.window + 1}."
            )

    def said(self) -> str:
        return f"locally adaptive loss of windows of {self.window}, k {self.k:g}"


LOSSES: Mapping[str, type[PixelLoss]] = MappingProxyType(
    {"cross_entropy": CrossEntropy, "lal": Lal}
)
"""Of config.segmentation.loss."""
