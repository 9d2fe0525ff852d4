"""PRM's classifier: CAM whose logits are pooled over their peaks.

Source: Zhou, Zhu, Ye, Qiu, Jiao, "Weakly Supervised Instance Segmentation using Class
Peak Response", CVPR 2018; fc_resnet.py of its program.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn

from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.method import Method
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.setting import anew


@dataclasses.dataclass(frozen=True)
class Prm(Cam):
    """A CAM network with a bias, its logits pooled over their peaks."""

    path: ClassVar[str] = "method.prm"
    title: ClassVar[str] = "PRM"

    pooling: str = anew(Method, "pooling", "peaks")

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> CamNetwork:
        return CamNetwork(
            backbone,
            num_classes,
            frozen_batch_norm=frozen_batch_norm,
            dropout=dropout,
            with_bias=True,
        )
