"""A backbone with all that networks ask of one, which compiles at once: what is tested
is what stands behind it.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp


class Pyramid(nn.Module):
    """Means over 8x8 pixels, widened by a matrix for each feature."""

    head_feature: ClassVar[str] = "conv6"
    middle_features: ClassVar[tuple[str, str]] = ("conv4", "conv5")
    strides: ClassVar[dict[str, int]] = {"conv4": 8, "conv5": 8, "conv6": 8}

    @nn.compact
    def __call__(self, images, sizes, use_running_average, deterministic):
        x = nn.avg_pool(images, (8, 8), strides=(8, 8))
        channels = {"conv4": 8, "conv5": 16, "conv6": 32}
        return {name: jnp.sin(nn.Dense(count, name=name)(x)) for name, count in channels.items()}
