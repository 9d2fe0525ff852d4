"""The network of SIPE: a CAM network, and beside it a feature that is made of all stages
of its backbone.

Source: Chen et al., "Self-supervised Image-specific Prototype Exploration for Weakly
Supervised Semantic Segmentation" (SIPE), CVPR 2022; network/resnet50_SIPE.py of its
program.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.directions import softened_directions
from hfpl_jax.models.cam_network import class_scores, drop_channels
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.padded_resize import extent, resize_padded
from hfpl_jax.shapes import Array, Float, Int, typed

default_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Within 1 / sqrt(fan in), as PyTorch makes a convolution."""


class SipeOutput(NamedTuple):
    """What the network makes of an image, at the resolution of the backbone's last
    feature.

    Attributes:
      logits: float32 [b, h, w, c], the CAM before any activation.
      feature: [b, h, w, k], the backbone's last one.
      hierarchy: float32 [b, h, w, k], 768 channels of all stages; no gradient goes
        from it to the backbone.
      valid: bool [b, h, w], False where an image of `sizes` has no position.
    """

    logits: jax.Array
    feature: Array
    hierarchy: jax.Array
    valid: jax.Array


class SipeNetwork(nn.Module):
    """`logits = x4 W`; `hierarchy = [resize(s_i / (|s_i| + e))]_i, s_i = x_i W_i`.

    x1 ... x4 are the backbone's last features, one a stage, and get no gradient through
    `side_*` (W_i). Each is normalised before it is resized, bilinearly without aligned
    corners. All kernels start within 1 / sqrt(fan in).

    In the published program the first two stages do not learn:
    `config.train.freeze_stages=3` (the stem is the first) keeps them.

    Attributes:
      backbone: a `Backbone`; where it has fewer than four features, they are the last
        of x1 ... x4.
      num_classes: foreground classes.
      frozen_batch_norm: normalise by the stored statistics in training too; whether the
        scales and shifts learn is `config.train.freeze_norms`.
      dropout: in training, the share of channels of x4 that are zeroed before W.
      sides: channels of W_1 ... W_4.
    """

    backbone: nn.Module
    num_classes: int
    frozen_batch_norm: bool = True
    dropout: float = 0.0
    sides: tuple[int, ...] = (128, 128, 256, 256)

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
    ) -> SipeOutput:
        """Arguments as those of `CamNetwork`."""
        features = self.backbone(
            images,
            sizes,
            use_running_average=self.frozen_batch_norm or not train,
            deterministic=not train,
        )
        last, strides = self.backbone.head_feature, self.backbone.strides
        feature = features[last]
        dropped = drop_channels(feature, self.dropout, train)
        logits = class_scores(self, dropped, default_uniform)
        b, *size, _ = feature.shape
        target = None if sizes is None else extent(sizes, strides[last])
        names = tuple(strides)[-len(self.sides) :]
        sides = []
        for name, channels in zip(names, self.sides[-len(names) :], strict=True):
            side = nn.Dense(
                channels, use_bias=False, kernel_init=default_uniform, name=f"side_{name}"
            )
            x = softened_directions(side(jax.lax.stop_gradient(features[name]).astype(jnp.float32)))
            source = None if sizes is None else extent(sizes, strides[name])
            sides.append(resize_padded(x, tuple(size), source, target, align_corners=False))
        valid = jnp.ones((b, *size), bool) if target is None else inside(target, *size)
        return SipeOutput(logits, feature, jnp.concatenate(sides, axis=-1), valid)
