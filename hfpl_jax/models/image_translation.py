"""The generator that makes an image of a mask, and the discriminator of single pixels.

Source: Zhu et al., "Unpaired image-to-image translation using cycle-consistent
adversarial networks", ICCV 2017; in the sizes of Mondal et al., arXiv 1908.11569, whose
program has them from there.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from hfpl_jax.shapes import Array, Float, typed

EPSILON = 1e-5

small_normal = nn.initializers.normal(0.02)


@typed
def instance_norm(x: Float[Array, "b h w k"]) -> Float[jax.Array, "b h w k"]:
    """(x - mean) / sqrt(var + 1e-5) of each image and channel, without scale and shift;
    computed in float32.
    """
    y = x.astype(jnp.float32)
    mean, var = y.mean((1, 2), keepdims=True), y.var((1, 2), keepdims=True)
    return ((y - mean) * jax.lax.rsqrt(var + EPSILON)).astype(x.dtype)


def _reflected(x: jax.Array, pixels: int) -> jax.Array:
    side = (pixels, pixels)
    return jnp.pad(x, ((0, 0), side, side, (0, 0)), mode="reflect")


class ImageGenerator(nn.Module):
    """Mask to image: 7x7 convolution, two of stride 2, residual blocks, two transposed
    ones, 7x7 convolution and tanh; instance normalisation and ReLU behind all but the
    last.

    Attributes:
      width: channels at the image's resolution, four times as many in the blocks.
      blocks: residual ones.
      dtype: of the computation.
    """

    width: int = 64
    blocks: int = 9
    dtype: DTypeLike = jnp.float32

    @nn.compact
    @typed
    def __call__(
        self, masks: Float[Array, "b h w k"], train: bool = False
    ) -> Float[jax.Array, "b h w 3"]:
        """Images in (-1, 1) of masks one channel a class; `train`: half of the values in
        the blocks are dropped (`rngs={"dropout": key}`).
        """
        height, width = masks.shape[1:3]

        def convolution(features: int, size: int, name: str, **options) -> Callable:
            shared = {"kernel_init": small_normal, "dtype": self.dtype, "name": name}
            return nn.Conv(features, (size, size), **{"padding": "VALID", **options, **shared})

        def activated(x: jax.Array) -> jax.Array:
            return nn.relu(instance_norm(x))

        x = activated(convolution(self.width, 7, "first")(_reflected(masks, 3)))
        for index in (1, 2):
            down = convolution(2**index * self.width, 3, f"down{index}", strides=2, padding=1)
            x = activated(down(x))
        for index in range(self.blocks):
            within = activated(convolution(4 * self.width, 3, f"block{index}_1")(_reflected(x, 1)))
            within = nn.Dropout(0.5, deterministic=not train)(within)
            within = convolution(4 * self.width, 3, f"block{index}_2")(_reflected(within, 1))
            x = x + instance_norm(within)
        for index in (1, 2):
            up = nn.ConvTranspose(
                4 * self.width // 2**index,
                (3, 3),
                strides=(2, 2),
                padding=((1, 2), (1, 2)),
                kernel_init=small_normal,
                dtype=self.dtype,
                name=f"up{index}",
            )
            x = activated(up(x))
        x = convolution(3, 7, "last")(_reflected(x, 3))
        return jnp.tanh(x.astype(jnp.float32))[:, :height, :width]


class PixelDiscriminator(nn.Module):
    """Whether each pixel of an image, or of a mask, is of a real one: 1x1 convolutions to
    64, 128 and 1 channels, leaky ReLU of 0.2 between them, behind instance normalisation
    of the second.

    Attributes:
      width: channels of the first convolution, half of those of the second.
    """

    width: int = 64

    @nn.compact
    @typed
    def __call__(self, inputs: Float[Array, "b h w k"]) -> Float[jax.Array, "b h w 1"]:
        """Scores, 1 for real and 0 for made, of arrays of any channels."""
        x = nn.Dense(self.width, kernel_init=small_normal, name="first")(inputs)
        x = nn.Dense(2 * self.width, kernel_init=small_normal, name="second")(nn.leaky_relu(x, 0.2))
        x = nn.leaky_relu(instance_norm(x), 0.2)
        return nn.Dense(1, kernel_init=small_normal, name="last")(x)
