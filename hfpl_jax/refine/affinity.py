"""AffinityNet's training: near pixels of one label get similar features, those of two
labels different ones.

Source: Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level
Supervision for Weakly Supervised Semantic Segmentation", CVPR 2018.
"""

import dataclasses
from typing import ClassVar

import grain
import jax
import numpy as np

from hfpl_jax.data.dataset import Example, decode_image
from hfpl_jax.data.transforms.affinity_crop import affinity_crop
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import decode_maps
from hfpl_jax.losses.affinity import affinity_terms, pair_affinities
from hfpl_jax.methods.method import Apply, Batch, Prediction
from hfpl_jax.setting import above, anew, ascending, setting
from hfpl_jax.training.settings import Training

_FEWEST_CELLS = 5
"""There are pairs in crops of so many cells a side, and in no smaller ones."""


@dataclasses.dataclass(frozen=True)
class Affinity(Training):
    """Training of AffinityNet, whose affinities the random walk follows."""

    path: ClassVar[str] = "refine.random_walk.affinity"
    has_classes: ClassVar[bool] = False  # it compares pixels, whatever their class

    epochs: int = anew(Training, "epochs", 8)
    learning_rate: float = anew(Training, "learning_rate", 0.01)
    alphas: tuple[float, float] = setting(
        (1.0, 24.0),
        "exponents of the background scores (1 - strongest CAM)^alpha that give sure foreground "
        "and sure background",
        ascending(above(0)),
    )

    def check_crop(self, output_stride: int) -> None:
        """Raises InputError where crops are not of whole cells, or too small."""
        if self.crop_size % output_stride or self.crop_size < _FEWEST_CELLS * output_stride:
            fitting = max(self.crop_size // output_stride, _FEWEST_CELLS) * output_stride
            raise InputError(
                f"config.{self.path}.crop_size = {self.crop_size} must be a multiple of the "
                f"network's output stride, {output_stride}, as each cell of the network has one "
                f"label, and {_FEWEST_CELLS} cells at least, or there are no pairs. Set it to "
                f"{fitting} or {fitting + output_stride}."
            )


class AffinityLoss:
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


@dataclasses.dataclass(frozen=True)
class AffinityCrop(grain.transforms.RandomMap):
    """(record with the CRF's maps of two backgrounds, photograph) -> a crop and the
    label map of its cells.
    """

    crop_size: int
    cell: int

    def random_map(
        self, element: tuple[dict, Example], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        record, example = element
        shape = (record["height"], record["width"], 1 + len(record["labels"]))
        low, high = (decode_maps(record[name], shape) for name in ("alpha0", "alpha1"))
        crop, labels = affinity_crop(
            rng,
            decode_image(example.image, example.file_name),
            low,
            high,
            np.asarray(record["labels"], np.int64),
            crop_size=self.crop_size,
            cell=self.cell,
        )
        return {
            "image": crop,
            "valid": np.ones(crop.shape[:2], bool),
            "labels": labels,
        }  # the padding is black, not the mean colour
