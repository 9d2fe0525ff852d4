"""Supervised segmentation: what the final network learns from the pseudo-labels."""

import dataclasses

import jax

from hfpl_jax.losses.cross_entropy import segmentation_loss
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.training.objective import Apply, Batch, Objective, Prediction


@dataclasses.dataclass(frozen=True)
class Segmentation(Objective):
    """Cross-entropy at the photograph's resolution; for
    `models.segmentation_network.SegmentationNetwork`.

    The logits are enlarged bilinearly with aligned corners, as in the published final
    stage. `batch.labels` are label maps.
    """

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        logits = apply(batch.images, train=True)
        enlarged = resize_bilinear(logits, batch.images.shape[1:3], align_corners=True)
        losses = {"cross_entropy": segmentation_loss(enlarged, batch.labels)}
        return Prediction(logits, losses, {"cross_entropy": 1.0})
