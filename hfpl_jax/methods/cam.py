"""Plain CAM: a multi-label classifier whose pre-pooling logits are the activation maps.

Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR
2016.
"""

import dataclasses
from collections.abc import Mapping

import jax

from hfpl_jax.losses import gap_loss
from hfpl_jax.methods.method import Apply, Batch, Prediction
from hfpl_jax.models.cam_network import CamOutput


@dataclasses.dataclass(frozen=True)
class Cam:
    """Global average pooling and the multi-label soft-margin loss; for
    `models.cam_network.CamNetwork`.
    """

    @property
    def weights(self) -> Mapping[str, float]:
        return {"classification": 1.0}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        logits = apply(batch.images, train=True).logits
        return Prediction(logits, {"classification": gap_loss(logits, batch.labels)})

    def cam_logits(self, output: CamOutput) -> jax.Array:
        return output.logits
