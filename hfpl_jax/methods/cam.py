"""Plain CAM: a multi-label classifier whose pre-pooling logits are the activation maps.

Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR
2016.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax

from hfpl_jax.methods.method import Method
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.training.objective import Apply, Batch, Prediction


@dataclasses.dataclass(frozen=True)
class Cam(Method):
    """Plain CAM: global average pooling and the multi-label soft-margin loss."""

    path: ClassVar[str] = "method.cam"
    title: ClassVar[str] = "CAM"

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> nn.Module:
        return CamNetwork(
            backbone, num_classes, frozen_batch_norm=frozen_batch_norm, dropout=dropout
        )

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        logits = apply(batch.images, train=True).logits
        classification = self.classification(logits, batch.labels)
        return Prediction(logits, {"classification": classification}, {"classification": 1.0})
