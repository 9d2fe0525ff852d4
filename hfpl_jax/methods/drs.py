"""DRS: a classifier whose ReLUs cut what stands out, so that its maps cover whole
objects.

Source: Kim, Han, Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic
Segmentation", AAAI 2021; scripts/train_cls.py and localization_map_gen.py of its
program.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np

from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.merge import enlarged
from hfpl_jax.methods.method import Maps
from hfpl_jax.models.drs_network import DrsNetwork
from hfpl_jax.shapes import Array, Float, typed
from hfpl_jax.training.objective import Apply

EPSILON = 1e-5


@typed
def normalized_cams(maps: Float[Array, "h w n"], size: tuple[int, int]) -> Float[Array, "H W n"]:
    """Maps at `size`, bilinear with aligned corners, each divided by its maximum plus
    1e-5.
    """
    at_size = enlarged(maps, size, align_corners=True)
    return at_size / (at_size.max(axis=(0, 1)) + EPSILON)


@dataclasses.dataclass(frozen=True)
class Drs(Cam):
    """The network of DRS. What it suppresses is `config.model.suppression`, which every
    other method may have as well.
    """

    path: ClassVar[str] = "method.drs"
    title: ClassVar[str] = "DRS"

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> DrsNetwork:
        return DrsNetwork(
            backbone, num_classes, frozen_batch_norm=frozen_batch_norm, dropout=dropout
        )

    def maps(
        self, apply: Apply, images: jax.Array, sizes: jax.Array, mirrored: jax.Array | None = None
    ) -> Maps:
        """The positive parts of the logits."""
        logits = apply(images, sizes=sizes).logits
        return Maps(nn.relu(logits), logits)

    def merge(
        self,
        maps: Sequence[Array],
        classes: np.ndarray,
        scaled_sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
        output_stride: int,
    ) -> Array:
        """The largest of the scales' `normalized_cams`."""
        each = [normalized_cams(of_scale[..., classes], size) for of_scale in maps]
        return functools.reduce(each[0].__array_namespace__().maximum, each)
