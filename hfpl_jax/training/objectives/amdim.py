"""Self-supervised pretraining: two views of a photograph are told from other
photographs. No label is read.

Source: Bachman, Hjelm, Buchwalter, "Learning Representations by Maximizing Mutual
Information Across Views" (AMDIM), NeurIPS 2019, and Chen et al., "Self-Supervised
Learning for Few-Shot Image Classification", ICASSP 2021, which pretrains by it. The
loss is that of AMDIM's program; the network is ours.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from hfpl_jax.losses.contrastive_estimation import multiscale_losses
from hfpl_jax.models.backbones.backbone import Backbone
from hfpl_jax.setting import Rule, anew, at_least, choice, setting
from hfpl_jax.training.objective import Apply, Batch, Objective, Prediction
from hfpl_jax.training.optimizer import OPTIMIZERS, AdamW
from hfpl_jax.training.schedule import SCHEDULES
from hfpl_jax.training.settings import Training

VIEWS = 2
PARTS = 25
"""Of 5x5."""

_several = Rule(
    "at least 4: two photographs, each of which is told from the other, in two views",
    lambda value: value >= 2 * VIEWS,
)


@dataclasses.dataclass(frozen=True)
class _PublishedAdamW(AdamW):
    __doc__ = AdamW.__doc__

    beta1: float = anew(AdamW, "beta1", 0.8)


@dataclasses.dataclass(frozen=True)
class Pretrain(Training):
    """Self-supervised pretraining of the backbone, in place of random weights."""

    path: ClassVar[str] = "pretrain"
    has_classes: ClassVar[bool] = False

    epochs: int = setting(0, "passes over the photographs; 0 for no pretraining", at_least(0))
    split: str = setting("", 'whose photographs it learns from, no labels; "" for train_split')
    batch_size: int = setting(128, "views over all devices, two a photograph", _several)
    crop_size: int = anew(Training, "crop_size", 128)
    jitter: bool = setting(True, "whether colours are jittered, and some views grey")
    learning_rate: float = anew(Training, "learning_rate", 2e-4)
    optimizer: str = choice(
        "adamw", "what makes steps of gradients", {**OPTIMIZERS, "adamw": _PublishedAdamW}
    )
    schedule: str = choice("cosine", "of the learning rate", SCHEDULES)
    weight_decay: float = anew(Training, "weight_decay", 1e-5)
    multipliers: tuple[tuple[str, float], ...] = anew(Training, "multipliers", ())
    freeze_stages: int = anew(Training, "freeze_stages", 0)
    freeze_norms: bool = anew(Training, "freeze_norms", False)


def least_crop(backbone: Backbone) -> int:
    """Pixels of a view's side whose maps have 7x7 and 5x5 positions."""
    strides = backbone.strides
    return max(7 * strides[backbone.middle_features[-1]], 5 * strides[backbone.head_feature])


@dataclasses.dataclass(frozen=True)
class Amdim(Objective):
    """AMDIM's loss, for `models.amdim_network.AmdimNetwork`.

    L = one_to_five + one_to_seven + five_to_five + regulariser, see
    `losses.contrastive_estimation.multiscale_losses`.

    The rows 2i and 2i + 1 of `batch.images` are the views of photograph i; its negatives
    are all other photographs of the batch, on whatever device.
    """

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        output = apply(batch.images, train=True)

        def by_view(rows: jax.Array) -> jax.Array:
            return jnp.moveaxis(rows.reshape(-1, VIEWS, *rows.shape[1:]), 1, 0)

        whole, five, seven = (by_view(rows) for rows in output)
        places = jax.random.randint(key, whole.shape[:2], 0, PARTS)
        losses = multiscale_losses(whole, five, seven, places)
        return Prediction(output.seven, losses, dict.fromkeys(losses, 1.0))
