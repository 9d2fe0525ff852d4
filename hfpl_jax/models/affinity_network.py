"""AffinityNet's network: features whose L1 distance tells whether two pixels belong to
the same thing.

Source: Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level
Supervision for Weakly Supervised Semantic Segmentation", CVPR 2018; PSA and HFPL,
network/resnet38_aff.py.
"""

import flax.linen as nn
import jax.numpy as jnp

from hfpl_jax.models.padded_resize import extent, resize_padded
from hfpl_jax.models.seam_network import kaiming_normal, xavier_uniform_gain_4
from hfpl_jax.shapes import Array, Float, Int, typed


class AffinityNetwork(nn.Module):
    """`f = elu(W9 [elu(W3 f_a), elu(W4 f_b), elu(W5 f_c)])`, 448 channels; the affinity
    of i and j is exp(-mean_k |f_ik - f_jk|).

    W3 [k, 64], W4 [k, 128] and W5 [k, 256] (`reduce_*`) start Kaiming normal, W9 [448,
    448] (`embed`) Xavier uniform with gain 4.

    Attributes:
      backbone: a `Backbone`; `ResNet38()` in the original. f_a and f_b are its middle
        features and f_c its last. Where one has another stride than the last it is
        resized to it, bilinearly with aligned corners.
      frozen_batch_norm: normalise by the stored statistics in training too.
    """

    backbone: nn.Module
    frozen_batch_norm: bool = True

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b _ _ 448"]:
        """Affinity features, float32, at the resolution of the backbone's last feature.

        Args:
          images: RGB, normalised with the mean and standard deviation the weights were
            trained with.
          sizes: height and width of each image in a batch padded at the bottom and
            right. The first `ceil(size / output_stride)` rows and columns are then
            those of the image without its padding.
          train: the backbone's dropout is active (`rngs={"dropout": key}`) and, with
            `frozen_batch_norm=False`, the batch's statistics normalise it and update
            `batch_stats`.
        """
        features = self.backbone(
            images,
            sizes,
            use_running_average=self.frozen_batch_norm or not train,
            deterministic=not train,
        )
        strides, last = self.backbone.strides, self.backbone.head_feature
        names, parts = (*self.backbone.middle_features, last), []
        for name, channels in zip(names, (64, 128, 256), strict=True):
            reduce = nn.Dense(
                channels, use_bias=False, kernel_init=kaiming_normal, name=f"reduce_{name}"
            )
            reduced = reduce(features[name].astype(jnp.float32))
            if strides[name] != strides[last]:
                extents = (
                    (None, None)
                    if sizes is None
                    else (extent(sizes, strides[name]), extent(sizes, strides[last]))
                )
                reduced = resize_padded(reduced, features[last].shape[1:3], *extents)
            parts.append(nn.elu(reduced))
        embed = nn.Dense(448, use_bias=False, kernel_init=xavier_uniform_gain_4, name="embed")
        return nn.elu(embed(jnp.concatenate(parts, -1)))
