"""The network of SEAM: a CAM network with the pixel correlation module behind it; and
that of PPC, which projects the last feature besides.

Source: Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly
Supervised Semantic Segmentation", CVPR 2020; SEAM and HFPL (SEAM++),
network/resnet38_SEAM.py; PPC, network/resnet38_contrast.py.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.models.cam_network import (
    class_scores,
    drop_channels,
    kaiming_normal,
    xavier_uniform,
)
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.padded_resize import extent, resize_padded
from hfpl_jax.models.pixel_correlation import pixel_correlation
from hfpl_jax.shapes import Array, Float, Int, typed

xavier_uniform_gain_4 = nn.initializers.variance_scaling(16.0, "fan_avg", "uniform")


class SeamOutput(NamedTuple):
    """What the heads make of an image, at the resolution of the backbone's last
    feature, float32.

    Attributes:
      logits: [b, h, w, c], the CAM before any activation, one channel a foreground
        class.
      corrected: [b, h, w, c + 1], the map after the pixel correlation module, the
        background first. Its values lie in [0, 1].
      features: the backbone's, by name.
      projection: [b, h, w, k], not negative; without channels where the network has no
        such head.
    """

    logits: jax.Array
    corrected: jax.Array
    features: dict[str, Array]
    projection: jax.Array


class SeamNetwork(nn.Module):
    """`logits = drop(f_last) W`; `corrected = PCM(logits, f)`, f = W9 [image, relu(W3
    f_a), relu(W4 f_b)]; `projection = relu(drop(f_last) V)`, of the same channels.

    f_a and f_b are the backbone's middle features. Neither they nor the image nor the
    logits get a gradient from `corrected`: it trains `reduce_*` (W3 [k, 64] and W4 [k,
    128], Kaiming normal) and `embed` (W9 [195, 192], Xavier uniform with gain 4) alone.

    The published head has a channel for the background, which gets no gradient and is
    never read; here there is none.

    Attributes:
      backbone: a `Backbone`; `ResNet38()` in the original. Where a middle feature has
        another stride than the last one it is resized to it, bilinearly with aligned
        corners, as the image is.
      num_classes: foreground classes.
      frozen_batch_norm: normalise by the stored statistics in training too.
      dropout: in training, the share of channels of the last feature that are zeroed
        before W and V.
      projection_channels: of V (`projection`, Xavier uniform), which has no bias; 0:
        there is no V.
    """

    backbone: nn.Module
    num_classes: int
    frozen_batch_norm: bool = True
    dropout: float = 0.5
    projection_channels: int = 0

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
    ) -> SeamOutput:
        """All maps.

        Args:
          images: RGB, normalised with the mean and standard deviation the weights were
            trained with.
          sizes: height and width of each image in a batch padded at the bottom and
            right. The first `ceil(size / output_stride)` rows and columns of the maps
            are then those of the image without its padding.
          train: dropout is active (`rngs={"dropout": key}`) and, with
            `frozen_batch_norm=False`, the batch's statistics normalise it and update
            `batch_stats`.
        """
        features = self.backbone(
            images,
            sizes,
            use_running_average=self.frozen_batch_norm or not train,
            deterministic=not train,
        )
        head_feature, strides = self.backbone.head_feature, self.backbone.strides
        dropped = drop_channels(features[head_feature], self.dropout, train)
        logits = class_scores(self, dropped)

        size = logits.shape[1:3]
        target = None if sizes is None else extent(sizes, strides[head_feature])

        def at_logits(maps, stride):
            if stride == strides[head_feature]:
                return maps
            return resize_padded(
                maps, size, None if sizes is None else extent(sizes, stride), target
            )

        detached = jax.lax.stop_gradient
        parts = [at_logits(detached(images.astype(jnp.float32)), 1)]
        for name, channels in zip(self.backbone.middle_features, (64, 128), strict=True):
            reduce = nn.Dense(
                channels, use_bias=False, kernel_init=kaiming_normal, name=f"reduce_{name}"
            )
            # Reduced, then resized, then rectified: the first two commute, and so there
            # are fewer channels to resize.
            parts.append(
                nn.relu(
                    at_logits(reduce(detached(features[name].astype(jnp.float32))), strides[name])
                )
            )
        embedding = nn.Dense(192, use_bias=False, kernel_init=xavier_uniform_gain_4, name="embed")(
            jnp.concatenate(parts, -1)
        )
        valid = None if target is None else inside(target, *size)
        projection = jnp.zeros((*logits.shape[:3], 0), jnp.float32)
        if self.projection_channels:
            project = nn.Dense(
                self.projection_channels,
                use_bias=False,
                kernel_init=xavier_uniform,
                name="projection",
            )
            projection = nn.relu(project(dropped))
        corrected = pixel_correlation(logits, embedding, valid)
        return SeamOutput(logits, corrected, features, projection)
