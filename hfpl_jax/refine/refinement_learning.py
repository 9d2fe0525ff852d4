"""Refinement learning of DRS: a network learns the CAMs themselves, as a regression, and
makes maps that no single photograph's accidents are in.

Source: Kim, Han, Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic
Segmentation", AAAI 2021; scripts/train_refine.py and utils/LoadData_refine.py of its
program.
"""

import dataclasses
import functools
from typing import ClassVar

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.dataset import Example, decode_image
from hfpl_jax.data.transforms.aligned_crop import aligned_crop
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.losses.enlarged_error import enlarged_error, projected
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.drs_network import DrsNetwork
from hfpl_jax.models.padded_resize import extent, resize_padded
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.refine.refiner import LearningRefiner, Padded, Photograph, Refined
from hfpl_jax.refine.strongest import strongest
from hfpl_jax.setting import anew
from hfpl_jax.shapes import Float, typed
from hfpl_jax.training.objective import Apply, Batch, Objective, Prediction
from hfpl_jax.training.settings import Training

SCALES = (0.8, 1.0, 1.2)
"""Of the photograph's own size, at which it is looked at; there, 256, 320 and 384 pixels
of a photograph that is 320 pixels wide and high.
"""

EPSILON = 1e-5


@typed
def strongest_alone(cams: Float[np.ndarray, "h w n"]) -> Float[np.ndarray, "h w n"]:
    """What is learnt: at each pixel the maps that are the largest there; the others, and
    those of absent classes, are 0.
    """
    return np.where(cams == cams.max(axis=-1, keepdims=True, initial=0.0), cams, np.float32(0.0))


@dataclasses.dataclass(frozen=True)
class Refinement(Training):
    """Training of the network that learns the CAMs."""

    path: ClassVar[str] = "refine.refinement_learning.refinement"

    epochs: int = anew(Training, "epochs", 30)
    crop_size: int = anew(Training, "crop_size", 320)
    learning_rate: float = anew(Training, "learning_rate", 1e-4)
    optimizer: str = anew(Training, "optimizer", "adamw")
    weight_decay: float = anew(Training, "weight_decay", 0.0)
    multipliers: tuple[tuple[str, float], ...] = anew(Training, "multipliers", ())
    freeze_stages: int = anew(Training, "freeze_stages", 0)


class RefinementLoss(Objective):
    """`enlarged_error` of a `DrsNetwork`'s scores of all classes. `batch.labels` are the
    "maps" and the "energy" of `RefinementCrop`.
    """

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        logits = apply(batch.images, train=True).logits
        learnt = batch.labels
        loss = enlarged_error(logits, learnt["maps"], learnt["energy"], batch.images.shape[1:3])
        return Prediction(logits, {"regression": loss}, {"regression": 1.0})


@dataclasses.dataclass(frozen=True)
class RefinementCrop(grain.transforms.RandomMap):
    """(record of CAMs, photograph) -> a crop and what its loss reads of the maps, of all
    classes.
    """

    crop_size: int
    cell: int

    def random_map(self, element: tuple[dict, Example], rng: np.random.Generator) -> dict:
        record, example = CamRecord.decode(element[0]), element[1]
        crop, (learnt,) = aligned_crop(
            rng,
            decode_image(example.image, example.file_name),
            [strongest_alone(record.cams)],
            crop_size=self.crop_size,
        )
        cells = -(-self.crop_size // self.cell)
        maps = np.zeros((cells, cells, len(record.probabilities)), np.float32)
        maps[..., record.classes] = projected(learnt, (cells, cells))
        return {
            "image": crop,
            "valid": np.ones(crop.shape[:2], bool),
            "labels": {"maps": maps, "energy": np.sum(np.square(learnt))},
        }


@dataclasses.dataclass(frozen=True)
class RefinementLearning(LearningRefiner):
    """Masks of a network that has learnt the CAMs."""

    path: ClassVar[str] = "refine.refinement_learning"
    stretches: ClassVar[bool] = True
    training: ClassVar[type[Refinement]] = Refinement
    objective: ClassVar[RefinementLoss] = RefinementLoss()

    refinement: Refinement = dataclasses.field(kw_only=True)

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool
    ) -> DrsNetwork:
        return DrsNetwork(
            backbone,
            num_classes,
            frozen_batch_norm=frozen_batch_norm,
            kernel_init=nn.initializers.normal(0.01),
        )

    def transform(self, cell: int) -> RefinementCrop:
        return RefinementCrop(self.refinement.crop_size, cell)

    def start(self, photograph: Photograph, cell: int) -> np.ndarray:
        """The threshold, in every cell that the photograph has a part of."""
        height, width, count = photograph.cams.shape
        start = np.zeros((-(-height // cell), -(-width // cell), 1 + count), np.float32)
        start[..., 0] = photograph.threshold
        return start

    def refine(self, batch: Padded, apply: Apply | None = None) -> Refined:
        """Behind the threshold of the CAMs, with the network's maps in their place: of
        each class the largest of the scales', not below 0, divided by its maximum plus
        1e-5, as the CAMs were.

        Published, they are not divided, and behind a saliency map; that they are, so
        that no second threshold has to be chosen, is our reading.
        """
        assert apply is not None
        own = inside(batch.sizes, *batch.images.shape[1:3])
        pixels = normalize(batch.images, own)
        maps = functools.reduce(
            jnp.maximum, (_maps(batch, pixels, apply, scale) for scale in SCALES)
        )
        maps = jnp.where(own[..., None], jnp.maximum(maps, 0.0), 0.0)
        maps = maps / (jnp.max(maps, axis=(1, 2), keepdims=True) + EPSILON)
        threshold = jnp.max(batch.scores[..., 0], axis=(1, 2))
        background = jnp.broadcast_to(threshold[:, None, None, None], (*maps.shape[:3], 1))
        return strongest(jnp.concatenate([background, maps], axis=-1), batch.classes)

    def said(self) -> str:
        return f"refinement learning, {self.refinement.epochs} epochs of regression of the CAMs"


def _maps(batch: Padded, pixels: jax.Array, apply: Apply, scale: float) -> jax.Array:
    """Scores of the photographs' own classes at their size, seen at a scale of it."""
    height, width = pixels.shape[1:3]
    cell = height // batch.scores.shape[1]
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    sizes = jnp.clip(jnp.rint(batch.sizes * scale), 1, jnp.asarray(size)).astype(jnp.int32)
    scaled = resize_padded(pixels, size, batch.sizes, sizes, align_corners=False)
    logits = apply(scaled, sizes).logits
    shown = jnp.take_along_axis(logits, jnp.maximum(batch.classes, 0)[:, None, None], axis=-1)
    return jnp.asarray(resize_padded(shown, (height, width), extent(sizes, cell), batch.sizes))
