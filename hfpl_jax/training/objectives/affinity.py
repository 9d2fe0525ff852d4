"""AffinityNet's training: near pixels of one label get similar features, those of two
labels different ones.
"""

import dataclasses

import jax

from hfpl_jax.losses.affinity import affinity_terms, pair_affinities
from hfpl_jax.training.objective import Apply, Batch, Objective, Prediction


@dataclasses.dataclass(frozen=True)
class Affinity(Objective):
    """The three terms of `affinity_loss`; for
    `models.affinity_network.AffinityNetwork`.

    `batch.labels` are label maps at the features' resolution: 0 background, 255
    ignored, everything between a foreground class.
    """

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        features = apply(batch.images, train=True)
        losses = affinity_terms(pair_affinities(features), batch.labels)._asdict()
        return Prediction(
            features, losses, {"background": 0.25, "foreground": 0.25, "negative": 0.5}
        )
