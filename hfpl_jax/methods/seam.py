"""SEAM: a CAM network sees each image at two sizes, and its maps have to move with the
image.

Source: Wang, Zhang, Kan, Shan, Chen, "Self-supervised Equivariant Attention Mechanism
for Weakly Supervised Semantic Segmentation", CVPR 2020; train_SEAM.py of its program,
which is also what HFPL (SEAM++) was released on.
"""

import dataclasses
import functools
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.errors import InputError
from hfpl_jax.losses import (
    add_background,
    equivariance_loss,
    equivariant_cross_loss,
    gap_loss,
    max_normalize,
    min_pooling_loss,
)
from hfpl_jax.methods.method import Maps, Method
from hfpl_jax.methods.pooling import MEAN
from hfpl_jax.models.seam_network import SeamNetwork, SeamOutput
from hfpl_jax.precision import at_least_float32
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.setting import above_up_to, at_least, setting
from hfpl_jax.shapes import Array, Bool, Float, Num, typed
from hfpl_jax.training.objective import Apply, Batch, Prediction


@typed
def seam_losses(
    cam1: Float[Array, "b H W c"],
    corrected1: Float[Array, "b H W c+1"],
    cam2: Float[Array, "b h w c"],
    corrected2: Float[Array, "b h w c+1"],
    labels: Num[Array, "b c"] | Bool[Array, "b c"],
    *,
    peak_floor: float | int = 0.0,
    corrected_floor: float | int = 0.0,
) -> dict[str, jax.Array]:
    """The loss terms of SEAM, scalars by name, from the maps of two views.

      y1 = label * resized(max_normalize(cam1)),      y2 = label * max_normalize(cam2)
      r1 = label * resized(max_normalize(corrected1)), r2 = label *
      max_normalize(corrected2)

      classification        GAP(cam1)
      classification_view2  GAP(cam2)
      min_pooling           min_pooling(corrected1) + min_pooling(corrected2),
                            foreground, not normalised
      equivariance          ER(y1, y2)
      equivariant_cross     ECR(y1, y2, r1, r2), with backgrounds: that of y is
                            1 - max_c y_c, that of r is its own map

    Resizing is bilinear with aligned corners, from view 1's size (H, W) to view 2's (h,
    w). With `WEIGHTS` the sum is the published total, (cls1 + cls2)/2 +
    (rvmin1 + rvmin2)/2 + er + ecr.

    Args:
      cam1, cam2: CAM logits before any ReLU, brought to the size of their view.
      corrected1, corrected2: the maps after the pixel correlation module, likewise;
        channel 0 is the background.
      labels: image labels in {0, 1}.
      peak_floor: of `max_normalize` for the CAMs, in logits; 0 as published.
      corrected_floor: the same for the corrected maps, which lie in [0, 1].
    """
    size = cam2.shape[1:3]
    scores = functools.partial(max_normalize, peak_floor=peak_floor)
    corrected_scores = functools.partial(max_normalize, peak_floor=corrected_floor)
    present = jnp.asarray(labels, jnp.promote_types(cam1.dtype, jnp.float32))[:, None, None, :]
    present_or_background = jnp.pad(present, ((0, 0), (0, 0), (0, 0), (1, 0)), constant_values=1.0)

    scores1 = resize_bilinear(scores(cam1), size, align_corners=True) * present
    scores2 = scores(cam2) * present
    corrected_scores1 = (
        resize_bilinear(corrected_scores(corrected1), size, align_corners=True)
        * present_or_background
    )
    corrected_scores2 = corrected_scores(corrected2) * present_or_background
    return {
        "classification": gap_loss(cam1, labels),
        "classification_view2": gap_loss(cam2, labels),
        "min_pooling": min_pooling_loss(corrected1[..., 1:], labels)
        + min_pooling_loss(corrected2[..., 1:], labels),
        "equivariance": equivariance_loss(scores1, scores2),
        "equivariant_cross": equivariant_cross_loss(
            add_background(scores1), add_background(scores2), corrected_scores1, corrected_scores2
        ),
    }


WEIGHTS = MappingProxyType(
    {
        "classification": 0.5,
        "classification_view2": 0.5,
        "min_pooling": 0.5,
        "equivariance": 1.0,
        "equivariant_cross": 1.0,
    }
)
"""Of the terms in the published total."""


class View(NamedTuple):
    """size: height and width of the images, in pixels. output: the network's of
    them.
    """

    size: tuple[int, ...]
    output: SeamOutput


@dataclasses.dataclass(frozen=True)
class Seam(Method):
    """SEAM: two views of each photograph, five loss terms."""

    path: ClassVar[str] = "method.seam"
    title: ClassVar[str] = "SEAM"

    # In view 2, too, objects have to be recognisable, so smaller crops need more than
    # the published 134 of 448 pixels.
    view_scale: float = setting(
        0.3, "the side of the second view over that of the crop", above_up_to(0, 1)
    )
    peak_floor: float = setting(
        1.0,
        "least height of a CAM, in logits, that its scores are divided by; 0 as published",
        at_least(0),
    )
    # One pixel of a class makes a peak of about one over the number of pixels.
    corrected_floor: float = setting(
        0.1, "the same for the corrected maps, from 0 to 1", at_least(0)
    )

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> SeamNetwork:
        return SeamNetwork(
            backbone, num_classes, frozen_batch_norm=frozen_batch_norm, dropout=dropout
        )

    def check_crop(self, crop_size: int, output_stride: int) -> None:
        if int(crop_size * self.view_scale) < 1:
            raise InputError(
                f"config.{self.path}.view_scale = {self.view_scale} of config.train.crop_size = "
                f"{crop_size} leaves no pixel of {self.title}'s second view. Raise one of the two."
            )

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        images1 = batch.images
        images2 = resize_bilinear(
            images1,
            tuple(int(side * self.view_scale) for side in images1.shape[1:3]),
            align_corners=True,
        )
        view1, view2 = (
            View(images.shape[1:3], apply(images, train=True)) for images in (images1, images2)
        )
        losses, weights = self.terms(view1, view2, batch.labels, key)
        return Prediction(view1.output.logits, losses, weights)

    def terms(
        self, view1: View, view2: View, labels: jax.Array, key: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, float]]:
        """The loss terms and their weights, by name."""
        cam1, corrected1, cam2, corrected2 = (
            # In float32 first: a bfloat16 map would be rounded again after it is
            # resized.
            resize_bilinear(at_least_float32(maps), view.size, align_corners=True)
            for view in (view1, view2)
            for maps in (view.output.logits, view.output.corrected)
        )
        losses = seam_losses(
            cam1,
            corrected1,
            cam2,
            corrected2,
            labels,
            peak_floor=self.peak_floor,
            corrected_floor=self.corrected_floor,
        )
        if self.pooling != MEAN:  # of the maps as they are, not at the size of their view
            losses["classification"], losses["classification_view2"] = (
                self.classification(view.output.logits, labels) for view in (view1, view2)
            )
        return losses, dict(WEIGHTS)

    def maps(
        self, apply: Apply, images: jax.Array, sizes: jax.Array, mirrored: jax.Array | None = None
    ) -> Maps:
        """The corrected maps of the foreground classes: SEAM's CAMs are those, not the
        logits.
        """
        output = apply(images, sizes=sizes)
        return Maps(output.corrected[..., 1:], output.logits)
