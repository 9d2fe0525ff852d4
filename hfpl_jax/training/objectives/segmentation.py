"""Supervised segmentation: what the final network learns from the pseudo-labels."""

import dataclasses

import jax

from hfpl_jax.training.objective import Apply, Batch, Objective, Prediction
from hfpl_jax.training.objectives.pixel_losses import CrossEntropy, PixelLoss

AUXILIARY = 0.4
"""Weight of the loss of a head's auxiliary classifier, as published for OCR."""


@dataclasses.dataclass(frozen=True)
class Segmentation(Objective):
    """A loss of logits and label maps; for
    `models.segmentation_network.SegmentationNetwork`. `batch.labels` are label maps.

    Where the head has an auxiliary classifier it learns by the same loss:

      L = loss(logits) + 0.4 loss(auxiliary)

    Attributes:
      loss: cross-entropy, as published, or another.
    """

    loss: PixelLoss = dataclasses.field(default_factory=CrossEntropy)

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        scores = apply(batch.images, train=True, auxiliary=True)
        name = self.loss.path.rpartition(".")[2]
        losses, weights = {name: self.loss.value(scores.logits, batch.labels)}, {name: 1.0}
        if scores.auxiliary is not None:
            losses["auxiliary"] = self.loss.value(scores.auxiliary, batch.labels)
            weights["auxiliary"] = AUXILIARY
        return Prediction(scores.logits, losses, weights)
