"""MCTformer: what a token for each class looks at is where the class is, times the CAM of
the patches, spread by what patches look at.

Source: Xu et al., "Multi-class Token Transformer for Weakly Supervised Semantic
Segmentation", CVPR 2022, and "MCTformer+", TPAMI 2024; models.py and engine.py of their
program.
"""

import dataclasses
import functools
import operator
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.losses import pooled_loss
from hfpl_jax.losses.token_contrast import token_contrast
from hfpl_jax.methods.merge import enlarged
from hfpl_jax.methods.method import Maps, Method
from hfpl_jax.models.backbones.vit import Vit
from hfpl_jax.models.mct_network import MctNetwork, MctOutput
from hfpl_jax.models.positions import ANTIALIASED, RULES
from hfpl_jax.setting import at_least, one_of, setting
from hfpl_jax.shapes import Array, Float, typed
from hfpl_jax.training.objective import Apply, Batch, Prediction

EPSILON = 1e-8
PRODUCT = "product"
FUSIONS = (PRODUCT, "root")


@typed
def stretched(summed: Float[Array, "h w n"]) -> Float[Array, "h w n"]:
    """Each map from 0 to 1: (s - min s) / (max s - min s + 1e-8)."""
    low, high = summed.min(axis=(0, 1)), summed.max(axis=(0, 1))
    return (summed - low) / (high - low + EPSILON)


@dataclasses.dataclass(frozen=True)
class Mctformer(Method):
    """MCTformer V2; with a contrast of tokens, ranked pooling and the fusion "root" it is
    MCTformer+.
    """

    path: ClassVar[str] = "method.mctformer"
    title: ClassVar[str] = "MCTformer"

    blocks: int = setting(
        3,
        "the last ones, whose class tokens count: their attention, and their contrast",
        at_least(1),
    )
    fusion: str = setting(
        PRODUCT,
        "of attention a and CAM m: a m, a being the blocks' sum; or the root of a m, a their mean",
        one_of(*FUSIONS),
    )
    contrast: float = setting(0.0, "weight of the contrast of class tokens", at_least(0))
    positions: str = setting(
        ANTIALIASED,
        "how the table of positions is resized: as timm, PyTorch or DINO",
        one_of(*RULES),
    )

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> MctNetwork:
        """A transformer has no batch normalisation."""
        del frozen_batch_norm
        own = backbone.clone(class_tokens=num_classes, positions=self.positions)
        return MctNetwork(own, num_classes, dropout=dropout)

    def check_backbone(self, backbone: nn.Module, name: str) -> None:
        if not isinstance(backbone, Vit):
            raise InputError(
                f"config.method.name = 'mctformer' needs a vision transformer, but "
                f"config.model.backbone = {name!r}. Set it to one, such as 'deit_small16'."
            )
        if self.blocks > backbone.depth:
            raise InputError(
                f"config.{self.path}.blocks = {self.blocks}, but the network has "
                f"{backbone.depth}. Set it to {backbone.depth} at most."
            )

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        output = apply(batch.images, train=True)
        losses = {
            "classification": self.classification(output.logits, batch.labels),
            "class_tokens": pooled_loss(output.scores, batch.labels),
        }
        weights = {"classification": 1.0, "class_tokens": 1.0}
        if self.contrast:
            losses["token_contrast"] = token_contrast(
                output.class_tokens[-self.blocks :], batch.labels
            )
            weights["token_contrast"] = self.contrast
        return Prediction(output.logits, losses, weights)

    def fused(self, output: MctOutput) -> jax.Array:
        """Attention of class tokens and CAMs of patches in one, [b, h, w, c]."""
        assert output.class_attention is not None, "the network is to be asked for attention"
        cams, looks = nn.relu(output.logits), output.class_attention[-self.blocks :]
        if self.fusion == PRODUCT:
            return looks.sum(axis=0) * cams
        return jnp.sqrt(looks.mean(axis=0) * cams)

    def maps(
        self, apply: Apply, images: jax.Array, sizes: jax.Array, mirrored: jax.Array | None = None
    ) -> Maps:
        """Fused maps, each patch's replaced by those of the patches that it looks at. What
        is on a photograph is said by both scores, half each.
        """
        output = apply(images, sizes=sizes, attention=True)
        fused = self.fused(output)
        flat = fused.reshape(fused.shape[0], -1, fused.shape[-1])
        refined = jnp.einsum("bij,bjc->bic", output.patch_attention, flat).reshape(fused.shape)
        return Maps(refined, 0.5 * (output.logits + output.scores[:, None, None]))

    def merge(
        self,
        maps: Sequence[Array],
        classes: np.ndarray,
        scaled_sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
        output_stride: int,
    ) -> Array:
        """The scales' sum at the photograph's size, `stretched`."""
        each = (enlarged(of_scale[..., classes], size) for of_scale in maps)
        return stretched(functools.reduce(operator.add, each))
