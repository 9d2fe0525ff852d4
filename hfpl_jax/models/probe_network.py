"""A frozen backbone and a small head that fuses several of its features: what is
trained reads stored features, what is predicted reads photographs.
"""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.models.cam_network import class_scores, drop_channels
from hfpl_jax.models.convolution import Convolution, torch_uniform
from hfpl_jax.models.frozen_features import FrozenFeatures
from hfpl_jax.models.padded_resize import extent, resize_padded
from hfpl_jax.shapes import Array, Float, Int, typed

EPSILON = 1e-6
DECODERS = ("1x1", "3x3")


class ProbeOutput(NamedTuple):
    """`logits` [b, h, w, c], float32, one channel a foreground class."""

    logits: jax.Array


@typed
def unit_power(x: Float[Array, "b h w k"]) -> Float[Array, "b h w k"]:
    """x / sqrt(mean_k x^2 + 1e-6), at each position: what is 0 stays 0."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + EPSILON)


class ProbeNetwork(nn.Module):
    """`fused = relu(sum_i gain_i * resize(unit_power(x_i W_i)))`, `logits =
    decoder(upsample(fused)) W`.

    x_i are the kept features; W_i are [k_i, width], gain_i [width] starts at 1.
    Features are resized to the grid of the finest one, with pixel areas that coincide,
    and upsampled from it with aligned corners, both bilinearly. The decoder is one 1x1
    or two 3x3 convolutions, each followed by a ReLU. Nothing has a bias: where features
    are 0, as in the padding of a training crop, the logits of the 1x1 decoder are 0.

    Attributes:
      backbone: a `Backbone`, which does not learn.
      num_classes: foreground classes.
      frozen: which of its features are kept.
      width: channels of the head.
      decoder: one of `DECODERS`.
      upsample: of the finest grid, by this factor.
      dropout: in training, the share of channels that are zeroed before W.
    """

    backbone: nn.Module
    num_classes: int
    frozen: FrozenFeatures
    width: int = 256
    decoder: str = "1x1"
    upsample: int = 1
    dropout: float = 0.0

    @property
    def _finest(self) -> str:
        return min(self.frozen.layers, key=lambda name: self.backbone.strides[name])

    @property
    def output_stride(self) -> int:
        """Pixels between two positions of the logits."""
        return self.backbone.strides[self._finest] // self.upsample

    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
    ) -> ProbeOutput:
        """Arguments as those of `CamNetwork`; the features are rounded as stored ones
        are.
        """
        return self.told(self.frozen.of(self.backbone(images, sizes)), sizes, train)

    @nn.compact
    def told(
        self,
        features: Mapping[str, Float[Array, "b _ _ _"]],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
    ) -> ProbeOutput:
        """The logits of kept features by name.

        Args:
          sizes: of the images that they were made of; None: they fill their arrays.
        """
        strides = self.backbone.strides
        grid = tuple(features[self._finest].shape[1:3])
        of_grid, of_logits = (
            None if sizes is None else extent(sizes, stride)
            for stride in (strides[self._finest], self.output_stride)
        )
        fused = jnp.zeros(())
        for name in self.frozen.layers:
            dense = nn.Dense(
                self.width, use_bias=False, kernel_init=torch_uniform, name=f"project_{name}"
            )
            gain = self.param(f"gain_{name}", nn.initializers.ones, (self.width,))
            x = unit_power(dense(features[name].astype(jnp.float32)))
            source = None if sizes is None else extent(sizes, strides[name])
            fused += gain * resize_padded(x, grid, source, of_grid, align_corners=False)
        x = nn.relu(fused)
        if self.upsample > 1:
            larger = self.upsample * grid[0], self.upsample * grid[1]
            x = resize_padded(x, larger, of_grid, of_logits)
        kernels = (1,) if self.decoder == "1x1" else (3, 3)
        for number, side in enumerate(kernels):
            x, _ = Convolution(self.width, side, name=f"decoder{number}")(x, of_logits)
            x = nn.relu(x)
        return ProbeOutput(class_scores(self, drop_channels(x, self.dropout, train)))
