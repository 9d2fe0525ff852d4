"""High-fidelity pseudo-labels as an add-on: the importance sampling loss and the
feature similarity loss, for any method.

    method = Hfpl(Cam(), isl_weight=0.2, fsl_weight=1.0)

The method keeps its network, its maps, its other loss terms and their weights; only its
"classification" term is mixed, and one term is added. Nothing of the method is known
here but its CAM logits.

Source: Jonnarth, Zhang, Felsberg, "High-fidelity Pseudo-labels for Boosting
Weakly-Supervised Segmentation", WACV 2024.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from hfpl_jax.losses import feature_similarity_loss, sample_pixels, sampled_loss, similarity_scores
from hfpl_jax.models.preprocess import colours
from hfpl_jax.training.objective import Apply, Batch, Objective, Prediction


@dataclasses.dataclass(frozen=True)
class Hfpl(Objective):
    """The two losses on top of `method`.

    Attributes:
      method: any method that has a "classification" term.
      isl_weight: lambda, the share of the importance sampling loss in the
        classification term: (1 - lambda) * classification + lambda * ISL. 0.2 was
        published; 1 is pure importance sampling; 0 does not change the term.
      fsl_weight: weight of the feature similarity loss: 1.0 (VOC) and 0.2 (COCO) were
        published; 0 leaves it out.
      num_samples: draws for each image and class.
      mu: colour distance at which similarity turns, see `feature_similarity_loss`.
      sigma: reach in CAM pixels; 5 at output stride 8, half of it at 16.
      window: radius in CAM pixels, or None for all pairs.
      peak_floor: the least height of a CAM that its scores are divided by, in logits,
        see `max_normalize`; 0 as published.
      sample: `sample(key, logits, num_samples=...)` draws the pixels [b, c, s] of the
        importance sampling loss.
    """

    method: Objective
    isl_weight: float
    fsl_weight: float
    num_samples: int = 10
    mu: float = 2.5
    sigma: float | None = 5.0
    window: int | None = None
    peak_floor: float = 0.0
    sample: Callable[..., jax.Array] = sample_pixels

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        sampling_key, method_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        return self.add(self.method.predict(apply, batch, method_key), batch, sampling_key)

    def first_carried(self, params: Mapping) -> Any:
        return self.method.first_carried(params)

    def next_carried(
        self, carried: Any, params: Mapping, prediction: Prediction, progress: jax.Array
    ) -> Any:
        return self.method.next_carried(carried, params, prediction, progress)

    def add(self, prediction: Prediction, batch: Batch, key: jax.Array) -> Prediction:
        """The method's `prediction` with the two losses in it; `key` draws the
        pixels.
        """
        logits, losses, weights = prediction.logits, dict(prediction.losses), prediction.weights
        if self.isl_weight:
            sampled = sampled_loss(
                logits, batch.labels, self.sample(key, logits, num_samples=self.num_samples)
            )
            losses["classification"] = (1.0 - self.isl_weight) * losses[
                "classification"
            ] + self.isl_weight * sampled
        if self.fsl_weight:
            losses["feature_similarity"] = feature_similarity_loss(
                colours(batch.images, logits.shape[1:3]),
                similarity_scores(logits, batch.labels, peak_floor=self.peak_floor),
                mu=self.mu,
                sigma=self.sigma,
                window=self.window,
            )
            weights = {**weights, "feature_similarity": self.fsl_weight}
        return Prediction(logits, losses, weights)
