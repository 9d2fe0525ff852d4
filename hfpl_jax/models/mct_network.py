"""MCTformer's network: a vision transformer with a token for each class, and a 3x3
convolution on the patches, whose output is the CAM logits.

Source: Xu et al., "Multi-class Token Transformer for Weakly Supervised Semantic
Segmentation", CVPR 2022; models.py of its program.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.models.convolution import BiasedConvolution, torch_uniform
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.shapes import Array, Float, Int, typed


class MctOutput(NamedTuple):
    """`logits` [b, h, w, c] of the patches, float32. `scores` [b, c], the mean channel
    of each class token. `class_tokens` [n, b, c, k] behind each block. Where attention
    was asked for: `class_attention` [n, b, h, w, c], what class tokens look at, of each
    block, and `patch_attention` [b, hw, hw], between patches (rows look), summed over the
    blocks; else None.
    """

    logits: jax.Array
    scores: jax.Array
    class_tokens: jax.Array
    class_attention: jax.Array | None
    patch_attention: jax.Array | None


class MctNetwork(nn.Module):
    """The last block's tokens are not normalised, as published.

    Attributes:
      backbone: a `Vit` with `num_classes` class tokens.
      num_classes: foreground classes.
      dropout: in training, the share of feature channels that are zeroed before the
        convolution.
    """

    backbone: nn.Module
    num_classes: int
    dropout: float = 0.0

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
        attention: bool = False,
    ) -> MctOutput:
        """Args: as of every network; `attention`: whether it is wanted."""
        seen, _ = self.backbone.look(images, sizes, attention=attention, deterministic=not train)
        classes, front = self.num_classes, seen.front
        tokens = jnp.stack([each[:, :classes] for each in seen.tokens[1:]]).astype(jnp.float32)
        patches = seen.tokens[-1][:, front:].reshape(images.shape[0], *seen.grid, -1)
        drop = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)
        head = BiasedConvolution(self.num_classes, 3, kernel_init=torch_uniform, name="head")
        extents = None if sizes is None else extent(sizes, self.backbone.output_stride)
        logits = head(drop(patches.astype(jnp.float32)), extents)
        of_classes = of_patches = None
        if attention:
            looks = jnp.stack([each[:, :classes, front:] for each in seen.attention])
            of_classes = looks.reshape(*looks.shape[:3], *seen.grid).transpose(0, 1, 3, 4, 2)
            of_patches = sum(each[:, front:, front:] for each in seen.attention)
        return MctOutput(logits, tokens[-1].mean(axis=-1), tokens, of_classes, of_patches)
