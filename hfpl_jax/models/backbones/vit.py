"""Vision transformers: ViT, DeiT, DINO, DINOv2 and CLIP's image tower, under timm's
names.

Source: Dosovitskiy et al., ICLR 2021; Touvron et al., ICML 2021; Caron et al., ICCV
2021; Oquab et al., TMLR 2024; Darcet et al., ICLR 2024; Radford et al., ICML 2021. The
arithmetic is that of timm's VisionTransformer.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from hfpl_jax.models.backbones.backbone import BackboneSettings
from hfpl_jax.models.patch_embedding import PatchEmbedding
from hfpl_jax.models.positions import ANTIALIASED
from hfpl_jax.models.transformer import Block, Dtypes, layer_norm
from hfpl_jax.models.weights.names import DENSE, TORCH_LEAVES, Arrays, Layer, Names, Shape
from hfpl_jax.setting import at_least, from_to_below, setting
from hfpl_jax.shapes import Array, Float, Int, typed

_OF_BLOCK = {
    "norm1": Layer(r"blocks.\1.norm1"),
    "norm2": Layer(r"blocks.\1.norm2"),
    "query_key_value": Layer(r"blocks.\1.attn.qkv", kernel=DENSE),
    "project": Layer(r"blocks.\1.attn.proj", kernel=DENSE),
    "expand": Layer(r"blocks.\1.mlp.fc1", kernel=DENSE),
    "reduce": Layer(r"blocks.\1.mlp.fc2", kernel=DENSE),
}


def _for_classes(arrays: Arrays, shapes: Mapping[str, Shape]) -> Arrays:
    """A network with a token for each class starts with as many of the file's one, in the
    same place.
    """
    count = shapes["cls_token"][1] if "cls_token" in shapes else 1
    token, table = arrays.get("cls_token"), arrays.get("pos_embed")
    if count == 1 or token is None or token.shape[:2] != (1, 1):
        return arrays
    copies = {"cls_token": np.repeat(token, count, axis=1)}
    if table is not None and shapes["pos_embed"][1] - count + 1 == table.shape[1]:
        copies["pos_embed"] = np.concatenate(
            [np.repeat(table[:, :1], count, axis=1), table[:, 1:]], axis=1
        )
    return {**arrays, **copies}


TIMM = Names(
    {
        "embed/patches": Layer("patch_embed.proj"),
        "embed/norm": Layer("norm_pre"),
        "embed": Layer(""),
        **{rf"block(\d+)/{name}": layer for name, layer in _OF_BLOCK.items()},
        r"block(\d+)": Layer(r"blocks.\1"),
        "norm": Layer("norm"),
    },
    leaves={
        **TORCH_LEAVES,
        "class_tokens": "cls_token",
        "distillation_token": "dist_token",
        "registers": "reg_token",
        "positions": "pos_embed",
        "scale1": "{}.ls1.gamma",
        "scale2": "{}.ls2.gamma",
    },
    fitted=_for_classes,
    ignored=r"(head|head_dist|fc_norm)\..*|mask_token",
    recognise=lambda keys: "a vision transformer" if "blocks.0.attn.qkv.weight" in keys else "",
)
"""Ignored: classifiers, and the token that DINOv2 masks patches with."""


@dataclasses.dataclass(frozen=True)
class VitSettings(BackboneSettings):
    """A vision transformer."""

    path: ClassVar[str] = "model.vit"
    in_files: ClassVar[Mapping[str, Any]] = MappingProxyType({"depth": 12})

    depth: int = setting(12, "blocks; fewer for a small network from random weights", at_least(1))
    drop_path: float = setting(
        0.0,
        "share of images whose branch of the last block is left out in training, less before it",
        from_to_below(0, 1),
    )


class VitOutput(NamedTuple):
    """Tokens behind the embedding and behind each block, `t` of them: `front` in front of
    the patches, which lie row by row; `attention`, of each block where it was asked for,
    [b, t, t], the mean over its heads, rows are the tokens that look.
    """

    tokens: list[jax.Array]
    attention: list[jax.Array]
    front: int
    grid: tuple[int, int]


class Vit(nn.Module):
    """Backbone: normalised images in, `{"block1", ..., "norm"}` out, each the patches'
    tokens as a map, channels last; "norm" is the last block's, normalised.

    An image's sides need not be multiples of the patch: what is missing of the last
    patches is 0, the mean colour.

    Attributes:
      width: channels of a token.
      heads: of each attention; 64 channels each in the networks with weights.
      patch: pixels of a patch's side.
      table: side of the stored table of positions, in patches.
      depth: blocks.
      class_tokens: 1 in networks with weights; MCTformer has one a class.
      distilled: whether there is DeiT's distillation token.
      registers: DINOv2's tokens that stand for nothing; with them the positions are
        those of patches alone.
      layer_scale, activation, epsilon: see `transformer.Block`.
      statistics: one of `patch_embedding.STATISTICS`, of the weights.
      normalized: whether the embedding is, as in CLIP.
      drop_path: of the last block, see `VitSettings`.
      positions: how their table is resized, one of `positions.RULES`.
      dtype: computation and features.
      param_dtype: parameters.
    """

    width: int
    heads: int
    patch: int = 16
    table: int = 14
    depth: int = 12
    class_tokens: int = 1
    distilled: bool = False
    registers: int = 0
    layer_scale: bool = False
    activation: str = "gelu"
    epsilon: float = 1e-6
    statistics: str = "imagenet"
    normalized: bool = False
    drop_path: float = 0.0
    positions: str = ANTIALIASED
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    head_feature: ClassVar[str] = "norm"
    weight_names: ClassVar[tuple[Names, ...]] = (TIMM,)

    @property
    def output_stride(self) -> int:
        return self.patch

    @property
    def _blocks(self) -> tuple[str, ...]:
        return tuple(f"block{number}" for number in range(1, self.depth + 1))

    @property
    def strides(self) -> dict[str, int]:
        return dict.fromkeys((*self._blocks, "norm"), self.patch)

    @property
    def middle_features(self) -> tuple[str, str]:
        """A third and two thirds of the way."""
        first, second = (max(1, self.depth * third // 3) for third in (1, 2))
        return f"block{first}", f"block{second}"

    @property
    def stages(self) -> tuple[str, ...]:
        return ("embed", *(f"block{number}" for number in range(self.depth)), "norm")

    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        use_running_average: bool = True,
        deterministic: bool = True,
    ) -> dict[str, Float[Array, "b _ _ _"]]:
        """Features of images.

        Args:
          images: RGB, normalised with ImageNet's mean and standard deviation; what the
            weights were trained with is brought about here.
          sizes: height and width of each image where the batch is padded at the bottom
            and right. At the positions an image has, `ceil(size / patch)` of them, the
            features are those of the image without its padding; elsewhere they mean
            nothing. None: every image fills its array.
          use_running_average: every backbone takes it; there is no batch normalisation.
          deterministic: no branch is left out.
        """
        del use_running_average
        output, normed = self.look(images, sizes, deterministic=deterministic)

        def as_map(tokens: jax.Array) -> jax.Array:
            return tokens[:, output.front :].reshape(-1, *output.grid, self.width)

        features = zip(self._blocks, output.tokens[1:], strict=True)
        return {name: as_map(tokens) for name, tokens in (*features, ("norm", normed))}

    @nn.compact
    @typed
    def look(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        *,
        attention: bool = False,
        deterministic: bool = True,
    ) -> tuple[VitOutput, jax.Array]:
        """All tokens, the attention of each block if it is wanted, and the last block's
        tokens normalised.
        """
        dtypes: Dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        embed = PatchEmbedding(
            width=self.width,
            patch=self.patch,
            table=self.table,
            class_tokens=self.class_tokens,
            distilled=self.distilled,
            registers=self.registers,
            statistics=self.statistics,
            normalized=self.normalized,
            epsilon=self.epsilon,
            positions=self.positions,
            dtypes=dtypes,
            name="embed",
        )
        x, seen = embed(images, sizes)
        tokens, weights = [x], []
        for number in range(self.depth):
            block = Block(
                self.heads,
                self.activation,
                self.epsilon,
                self.layer_scale,
                self.drop_path * number / max(self.depth - 1, 1),
                dtypes,
                name=f"block{number}",
            )
            made = block(x, seen, attention=attention, deterministic=deterministic)
            x = made.tokens
            tokens.append(x)
            weights += [] if made.attention is None else [made.attention]
        grid = tuple(-(-side // self.patch) for side in images.shape[1:3])
        front = x.shape[1] - grid[0] * grid[1]
        normed = layer_norm(self.epsilon, dtypes, "norm")(x)
        return VitOutput(tokens, weights, front, grid), normed
