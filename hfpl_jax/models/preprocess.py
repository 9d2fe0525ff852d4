"""Between a batch of bytes and a network: normalisation on the device, so that 8-bit
images are what travels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.resize import resize_bilinear
from hfpl_jax.shapes import Array, Bool, Float, UInt8, typed

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


@typed
def normalize(
    images: UInt8[Array, "*b h w 3"], valid: Bool[Array, "*b h w"]
) -> Float[jax.Array, "*b h w 3"]:
    """(x / 255 - mean) / std, float32, with ImageNet's statistics; 0 (the mean colour)
    where `valid` is False. Of a batch, of one image or of a batch of groups.
    """
    pixels = jnp.asarray(images, jnp.float32) / 255.0
    return (pixels - IMAGENET_MEAN) / IMAGENET_STD * valid[..., None]


@typed
def colours(images: Float[Array, "b H W 3"], size: tuple[int, ...]) -> Float[Array, "b h w 3"]:
    """Colours in [0, 1] at a CAM's `size`, from normalised images: what the feature
    similarity loss compares.

    Bilinear with aligned corners and no antialiasing, as the published program resizes
    them.
    """
    return jnp.clip(
        resize_bilinear(images, size, align_corners=True) * IMAGENET_STD + IMAGENET_MEAN, 0.0, 1.0
    )
