"""MCOF's region network: a superpixel is classified by the mean of its features.

Source: Wang, You, Li and Ma, "Weakly-Supervised Semantic Segmentation by Iteratively
Mining Common Object Features", CVPR 2018. Its body was not within reach: one hidden
layer and the mean over superpixels are our reading.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.models.region_means import region_means
from hfpl_jax.shapes import Array, Float, Int, typed

HIDDEN = 512


class RegionOutput(NamedTuple):
    """Logits float32 [b, n, 1 + c] of regions, the background's first, and the pixels of
    each, float32 [b, n]: one without any is none.
    """

    logits: jax.Array
    pixels: jax.Array


class RegionNetwork(nn.Module):
    """`logits = W2 relu(W1 m + b1) + b2` of the mean feature m of a region; W1 [c, 512].

    Attributes:
      backbone: a `Backbone`.
      num_classes: foreground classes.
      regions: the most of a photograph.
      frozen_batch_norm: normalise by the stored statistics in training too.
    """

    backbone: nn.Module
    num_classes: int
    regions: int
    frozen_batch_norm: bool = True

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
        regions: Int[Array, "b h w"] | None = None,
    ) -> RegionOutput:
        """Arguments as those of `CamNetwork`, and the region of each pixel, -1 for none;
        without them a photograph is one region.
        """
        if regions is None:
            regions = jnp.zeros(images.shape[:3], jnp.int32)
        features = self.backbone(
            images,
            sizes,
            use_running_average=self.frozen_batch_norm or not train,
            deterministic=not train,
        )
        means, pixels = region_means(features[self.backbone.head_feature], regions, self.regions)
        hidden = nn.relu(nn.Dense(HIDDEN, name="hidden")(means))
        small = nn.initializers.normal(0.01)
        scores = nn.Dense(1 + self.num_classes, kernel_init=small, name="scores")
        return RegionOutput(scores(hidden), pixels)
