"""PPC on SEAM: the pixels of two views are contrasted with prototypes of the classes,
those of their own view and those of the other.

Source: Du, Fu, Liu, Wang, "Weakly Supervised Semantic Segmentation by
Pixel-to-Prototype Contrast", CVPR 2022; contrast_train.py of its program.
"""

import dataclasses
import functools
from typing import ClassVar

import flax.linen as nn
import jax

from hfpl_jax.losses import (
    class_prototypes,
    draw_half,
    intra_view_contrast,
    pixel_classes,
    prototype_contrast,
    prototype_scores,
)
from hfpl_jax.methods.seam import Seam, View
from hfpl_jax.models.seam_network import SeamNetwork
from hfpl_jax.precision import at_least_float32
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.section import Switch
from hfpl_jax.setting import above, anew, at_least, between, setting
from hfpl_jax.shapes import Array, Bool, Float, Int, Num, typed

CHANNELS = 128
"""Of the features that are contrasted."""


@typed
def contrast_losses(
    features: tuple[Float[Array, "b h w k"], Float[Array, "b h w k"]],
    corrected: tuple[Float[Array, "b h w m"], Float[Array, "b h w m"]],
    labels: Num[Array, "b c"] | Bool[Array, "b c"],
    key: jax.Array,
    *,
    background: float | int = 0.2,
    temperature: float | int = 0.1,
    drawn: tuple[Bool[Array, "b h w"], Bool[Array, "b h w"]] | None = None,
    top_indices: tuple[Int[Array, "m s"], Int[Array, "m s"]] | None = None,
) -> dict[str, jax.Array]:
    """The loss terms that PPC adds to SEAM, scalars by name; all are means over the two
    views.

      cross_prototype  the pixels against the prototypes of the other view
      cross_cam        against those of their view, pixel and class from the corrected
                       maps of the other one
      intra_view       against those of their view, half of the pixels drawn, half hard

    With the weight 0.1 each they are the published ones. Prototypes, classes and the
    order of the pixels are of the whole batch, however it is divided among devices.

    Args:
      features: of both views at one size, not normalised.
      corrected: the maps after the pixel correlation module at that size, with m = c + 1
        channels, the background first; no gradient.
      labels: image labels in {0, 1}.
      key: draws half of the pixels of each class.
      background: of `prototype_scores`.
      temperature: what similarities are divided by.
      drawn, top_indices: of `intra_view_contrast` and `class_prototypes`, given for
        both views.
    """
    scores = [prototype_scores(maps, background=background) for maps in corrected]
    y1, y2 = classes = [pixel_classes(each, labels) for each in scores]
    p1, p2 = map(class_prototypes, features, scores, top_indices or (None, None))
    d1, d2 = drawn or map(draw_half, jax.random.split(key), classes)
    g1, g2 = features
    contrast = functools.partial(prototype_contrast, temperature=temperature)
    intra = functools.partial(intra_view_contrast, temperature=temperature)
    return {
        "cross_prototype": (contrast(g1, p2, y1) + contrast(g2, p1, y2)) / 2,
        "cross_cam": (contrast(g1, p1, y2) + contrast(g2, p2, y1)) / 2,
        "intra_view": (intra(g1, p1, y1, d1) + intra(g2, p2, y2, d2)) / 2,
    }


@dataclasses.dataclass(frozen=True)
class Ppc(Seam):
    """PPC on SEAM: two views of each photograph, the five loss terms of SEAM and three
    of contrast.
    """

    path: ClassVar[str] = "method.ppc"
    title: ClassVar[str] = "PPC"
    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            ("method.ppc.background", "method.ppc.temperature"),
            lambda config, _: config.method.ppc.contrast > 0,
            "config.method.ppc.contrast above 0",
        ),
    )

    view_scale: float = anew(Seam, "view_scale", 128 / 448)
    contrast: float = setting(0.1, "weight of each of the three terms of contrast", at_least(0))
    # At 0 the background's pixels, which weigh that much, would make no prototype; at 1 no
    # class would take one from it.
    background: float = setting(
        0.2, "score above which a class takes a pixel from the background", between(0, 1)
    )
    temperature: float = setting(
        0.1, "what the similarities of pixels and prototypes are divided by", above(0)
    )

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> SeamNetwork:
        return SeamNetwork(
            backbone,
            num_classes,
            frozen_batch_norm=frozen_batch_norm,
            dropout=dropout,
            projection_channels=CHANNELS,
        )

    def terms(
        self, view1: View, view2: View, labels: jax.Array, key: jax.Array, **given
    ) -> tuple[dict[str, jax.Array], dict[str, float]]:
        """Those of SEAM, and `contrast_losses` at the resolution of view 2's maps.

        Args:
          given: `drawn` and `top_indices`, to have them in place of those that are
            drawn and found.
        """
        losses, weights = super().terms(view1, view2, labels, key)
        output1, output2 = view1.output, view2.output

        def at_view2(maps: jax.Array) -> jax.Array:
            size = output2.corrected.shape[1:3]
            return resize_bilinear(at_least_float32(maps), size, align_corners=True)

        added = contrast_losses(
            (at_view2(output1.projection), at_view2(output2.projection)),
            (at_view2(output1.corrected), at_view2(output2.corrected)),
            labels,
            key,
            background=self.background,
            temperature=self.temperature,
            **given,
        )
        return losses | added, weights | dict.fromkeys(added, self.contrast)
