"""A backbone with a feature of each stage at its stride, which compiles at once."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from hfpl_jax.models.convolution import mask_padding


class Stages(nn.Module):
    """Means over squares of as many pixels as the stride, widened by a matrix each."""

    output_stride: ClassVar[int] = 16
    head_feature: ClassVar[str] = "layer4"
    strides: ClassVar[dict[str, int]] = {
        "stem": 2,
        "layer1": 4,
        "layer2": 8,
        "layer3": 16,
        "layer4": 16,
    }

    @nn.compact
    def __call__(self, images, sizes=None, use_running_average=True, deterministic=True):
        x = mask_padding(images, sizes)
        x = jnp.pad(x, ((0, 0), *((0, -side % 16) for side in x.shape[1:3]), (0, 0)))
        features = {}
        for index, (name, stride) in enumerate(self.strides.items()):
            means = nn.avg_pool(x, (stride, stride), strides=(stride, stride))
            # It grows to the right, or mirrored images had mirrored features.
            means += 0.1 * jnp.arange(means.shape[2])[:, None]
            count = -(-images.shape[1] // stride), -(-images.shape[2] // stride)
            means = means[:, : count[0], : count[1]]
            features[name] = nn.relu(nn.Dense(4 + 2 * index, name=name)(means))
        return features
