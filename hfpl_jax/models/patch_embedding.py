"""How an image becomes the tokens of a vision transformer.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; the arithmetic is
that of timm's VisionTransformer.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from hfpl_jax.models.convolution import inside, mask_padding, torch_uniform
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.models.positions import resized_positions
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.models.transformer import Dtypes, layer_norm
from hfpl_jax.shapes import Array

STATISTICS: Mapping[str, tuple[Any, Any]] = MappingProxyType(
    {
        "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
        "half": (np.full(3, 0.5, np.float32), np.full(3, 0.5, np.float32)),
        "clip": (
            np.array([0.48145466, 0.4578275, 0.40821073], np.float32),
            np.array([0.26862954, 0.26130258, 0.27577711], np.float32),
        ),
    }
)
"""Mean and standard deviation of colours, with which weights were trained."""


class PatchEmbedding(nn.Module):
    """Patches of an image, the tokens in front of them, and the positions of all.
    Attributes: those of `Vit`.
    """

    width: int
    patch: int
    table: int
    class_tokens: int
    distilled: bool
    registers: int
    statistics: str
    normalized: bool
    epsilon: float
    positions: str
    dtypes: Dtypes

    @nn.compact
    def __call__(self, images: Array, sizes: Array | None) -> tuple[Array, Array | None]:
        """Tokens [b, t, k], and which of them are no padding."""
        b = images.shape[0]
        x = self._own_colours(images, sizes)
        x = jnp.pad(x, ((0, 0), *((0, -side % self.patch) for side in x.shape[1:3]), (0, 0)))
        window = (self.patch, self.patch)
        x = nn.Conv(
            self.width,
            window,
            window,
            "VALID",
            use_bias=not self.normalized,
            kernel_init=torch_uniform,
            **self.dtypes,
            name="patches",
        )(x)
        grid = x.shape[1:3]
        in_front = {"class_tokens": self.class_tokens}
        if self.distilled:
            in_front["distillation_token"] = 1
        placed = sum(in_front.values())
        if self.registers:
            in_front["registers"] = self.registers
            placed = 0  # such networks' positions are those of patches alone
        normal = nn.initializers.normal(0.02)
        tokens = [
            self.param(name, normal, (1, count, self.width)) for name, count in in_front.items()
        ]
        positions = self.param("positions", normal, (1, placed + self.table**2, self.width))
        table = positions[0, placed:].reshape(self.table, self.table, self.width)
        patches = None if sizes is None else extent(sizes, self.patch)
        at_patches = resized_positions(table, grid, patches, rule=self.positions).astype(x.dtype)
        x = (x + at_patches).reshape(b, -1, self.width)
        front = jnp.concatenate(tokens, axis=1).at[:, :placed].add(positions[:, :placed])
        front = jnp.broadcast_to(front.astype(x.dtype), (b, *front.shape[1:]))
        x = jnp.concatenate([front, x], axis=1)
        if self.normalized:
            x = layer_norm(self.epsilon, self.dtypes, "norm")(x)
        if patches is None:
            return x, None
        seen = inside(patches, *grid).reshape(b, -1)
        return x, jnp.pad(seen, ((0, 0), (front.shape[1], 0)), constant_values=True)

    def _own_colours(self, images, sizes):
        """Normalised as the weights were trained; padding is 0."""
        if self.statistics == "imagenet":
            return mask_padding(images, sizes).astype(self.dtypes["dtype"])
        mean, deviation = STATISTICS[self.statistics]
        x = (images * IMAGENET_STD + IMAGENET_MEAN - mean) / deviation
        return mask_padding(x, sizes).astype(self.dtypes["dtype"])
