"""The networks of CycleGAN's semi-supervision in one parent."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.models.image_translation import ImageGenerator, PixelDiscriminator
from hfpl_jax.models.several_networks import SeveralNetworks
from hfpl_jax.shapes import Array, Float, Int


class CycleNetwork(SeveralNetworks):
    """A final network, which makes masks of images; the generator of images; and what
    tells real from made ones. Only the first is called once it is trained.

    Attributes:
      segmenter: the final network.
      width, blocks: of the generator.
      mask_channels: of the masks that the discriminator sees.
    """

    members: ClassVar[tuple[str, ...]] = ("segmenter",)

    segmenter: nn.Module
    width: int = 64
    blocks: int = 9
    mask_channels: int = 1

    def setup(self):
        self.generator = ImageGenerator(self.width, self.blocks, self.backbone.dtype)
        self.image_discriminator = PixelDiscriminator()
        self.mask_discriminator = PixelDiscriminator()

    def __call__(
        self, images: Float[Array, "b h w 3"], sizes: Int[Array, "b 2"] | None = None
    ) -> Float[jax.Array, "b _ _ c"]:
        """The final network's logits."""
        return self.segmenter(images, sizes)

    def everything(self, images: jax.Array) -> None:
        logits = self(images)
        self.generator(logits)
        self.image_discriminator(images)
        self.mask_discriminator(jnp.zeros((*images.shape[:3], self.mask_channels)))
