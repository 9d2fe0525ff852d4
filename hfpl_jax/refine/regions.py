"""Regions of MCOF: a network learns from small sure seeds what superpixels of a class
have in common, over all photographs, and classifies every superpixel.

Source: Wang, You, Li and Ma, "Weakly-Supervised Semantic Segmentation by Iteratively
Mining Common Object Features", CVPR 2018. Its body was not within reach, nor a program:
all numbers are our reading. Its saliency maps are not asked for: the CAM is the prior in
their place.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.dataset import Example, decode_image, decode_mask
from hfpl_jax.data.example import encode_mask
from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.data.transforms.aligned_crop import aligned_crop
from hfpl_jax.losses.balanced_cross_entropy import balanced_cross_entropy
from hfpl_jax.masks import IGNORE
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.padded_resize import extent, resize_padded
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.models.region_network import RegionNetwork
from hfpl_jax.refine.object_colours import colour_bins, object_posterior
from hfpl_jax.refine.over_segmentation import superpixels
from hfpl_jax.refine.refiner import LearningRefiner, Padded, Photograph, Refined
from hfpl_jax.refine.region_merging import means_of
from hfpl_jax.refine.strongest import strongest
from hfpl_jax.section import Switch
from hfpl_jax.setting import Rule, anew, setting, within
from hfpl_jax.shapes import Float, Int, UInt8, typed
from hfpl_jax.training.objective import Apply, Batch, Objective, Prediction
from hfpl_jax.training.settings import Training

_sure = Rule(
    "(low, high) with 0 <= low < high <= 1, such as (0.05, 0.3)",
    lambda pair: len(pair) == 2 and 0 <= pair[0] < pair[1] <= 1,
    example=False,
)


@typed
def seeds(
    cams: Float[np.ndarray, "h w n"],
    classes: Int[np.ndarray, "n"],
    pieces: Int[np.ndarray, "h w"],
    low: float,
    high: float,
) -> UInt8[np.ndarray, "m"]:
    """The label of each superpixel: its strongest class, where the mean of that CAM is
    above `high`; 0 where those of all are below `low`; else 255.
    """
    if not len(classes):  # it is background
        return np.zeros(int(pieces.max()) + 1, np.uint8)
    means, _ = means_of(cams, pieces)
    strongest_class = means.max(axis=1)
    labels = np.where(strongest_class < low, 0, IGNORE)
    found = (classes + 1)[means.argmax(axis=1)]
    return np.where(strongest_class > high, found, labels).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Mining(Training):
    """Training of the network that classifies superpixels."""

    path: ClassVar[str] = "refine.regions.mining"

    epochs: int = anew(Training, "epochs", 8)
    learning_rate: float = anew(Training, "learning_rate", 0.005)


class RegionLoss(Objective):
    """`balanced_cross_entropy` of a `RegionNetwork`'s superpixels. `batch.labels` are the
    "regions" and the "seeds" of `RegionCrop`.
    """

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        regions, labels = batch.labels["regions"], batch.labels["seeds"]
        logits, pixels = apply(batch.images, train=True, regions=regions)
        labels = jnp.where(pixels > 0, labels, jnp.uint8(IGNORE))
        losses = {"regions": balanced_cross_entropy(logits, labels)}
        return Prediction(logits[:, None], losses, {"regions": 1.0})


@dataclasses.dataclass(frozen=True)
class RegionCrop(grain.transforms.RandomMap):
    """(record of the seeds, photograph) -> a crop, its superpixels, and the label of each
    superpixel of the photograph.
    """

    crop_size: int
    count: int

    def random_map(self, element: tuple[dict, Example], rng: np.random.Generator) -> dict:
        record, example = element
        pieces = decode_pieces(record["pieces"], example.file_name)
        crop, [own] = aligned_crop(
            rng,
            decode_image(example.image, example.file_name),
            [(pieces[..., None] + 1).astype(np.float32)],
            crop_size=self.crop_size,
        )
        labels = np.full(self.count, IGNORE, np.uint8)
        given = np.frombuffer(record["seeds"], np.uint8)
        labels[: len(given)] = given
        return {
            "image": crop,
            "valid": np.ones(crop.shape[:2], bool),
            "labels": {"regions": own[..., 0].astype(np.int32) - 1, "seeds": labels},
        }


def encode_pieces(pieces: np.ndarray) -> bytes:
    """Numbers up to 65,535 of pixels, the higher bytes above the lower ones, in a PNG."""
    return encode_mask(np.concatenate([pieces >> 8, pieces & 255]).astype(np.uint8))


def decode_pieces(data: bytes, name: str) -> np.ndarray:
    """int64 [h, w] of `encode_pieces`."""
    high, low = np.split(decode_mask(data, name).astype(np.int64), 2)
    return (high << 8) + low


@dataclasses.dataclass(frozen=True)
class Regions(LearningRefiner):
    """Masks of superpixels that a network has classified."""

    path: ClassVar[str] = "refine.regions"
    evidence_stage: ClassVar[str] = "seeds"
    evidence_fields: ClassVar[tuple[str, ...]] = ("count", "sure", "sure_later")
    evidence_title: ClassVar[str] = "seeds"
    evidence_cure: ClassVar[str] = "raise --config.refine.regions.sure"
    training: ClassVar[type[Mining]] = Mining
    objective: ClassVar[RegionLoss] = RegionLoss()
    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            (f"{path}.sure_later",),
            lambda config, _: config.rounds > 1,
            "config.rounds above 1",
        ),
    )

    mining: Mining = dataclasses.field(kw_only=True)
    count: int = setting(300, "superpixels of a photograph at most", within(1, 65535))
    sure: tuple[float, float] = setting(
        (0.05, 0.3),
        "mean CAM of a superpixel below which it is background, above which an object, to learn "
        "from",
        _sure,
    )
    sure_later: tuple[float, float] = setting(
        (0.2, 0.8), "the same of what the final network sees, in later rounds", _sure
    )
    colours: bool = setting(
        True, "whether the colours of a photograph's only class extend what was found in round 1"
    )

    def in_round(self, number: int) -> "Regions":
        if number == 1:
            return self
        return dataclasses.replace(self, sure=self.sure_later, colours=False)

    def evidence(self, photograph: Photograph, *, learnt: bool) -> tuple[Refined, dict[str, bytes]]:
        """The seeds, and of each superpixel the label that is learnt."""
        pieces = superpixels(photograph.image, self.count)
        labels = seeds(photograph.cams, photograph.classes, pieces, *self.sure)
        mask = labels[pieces]
        refined = Refined(mask, np.where(mask == IGNORE, np.uint8(0), np.uint8(255)))
        learned = {"pieces": encode_pieces(pieces), "seeds": labels.tobytes()} if learnt else {}
        return refined, learned

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool
    ) -> RegionNetwork:
        return RegionNetwork(backbone, num_classes, self.count, frozen_batch_norm=frozen_batch_norm)

    def transform(self, cell: int) -> RegionCrop:
        return RegionCrop(self.mining.crop_size, self.count)

    def regions(self, photograph: Photograph) -> np.ndarray:
        return superpixels(photograph.image, self.count)

    def start(self, photograph: Photograph, cell: int) -> np.ndarray:
        """The prior of an only class, its CAM; 0 for all others."""
        height, width, count = photograph.cams.shape
        scores = np.zeros((height, width, 1 + count), np.float32)
        if self.colours and count == 1:
            scores[..., 1:] = np.maximum(photograph.cams, 0.0)
        share = average_pool(np.ones_like(scores[..., :1]), cell)
        return average_pool(scores, cell) / share

    def refine(self, batch: Padded, apply: Apply | None = None) -> Refined:
        """softmax of the logits of the photograph's own classes and the background, the
        same all over a superpixel; where there is a prior, `object_posterior` in its place
        at pixels that it makes an object's.
        """
        assert apply is not None
        height, width = batch.images.shape[1:3]
        own = inside(batch.sizes, height, width)
        logits = apply(normalize(batch.images, own), batch.sizes, regions=batch.regions).logits
        there = jnp.pad(batch.classes >= 0, ((0, 0), (1, 0)), constant_values=True)
        channels = jnp.pad(batch.classes + 1, ((0, 0), (1, 0)))
        shown = jnp.take_along_axis(logits, jnp.maximum(channels, 0)[:, None], axis=-1)
        scores = jax.nn.softmax(jnp.where(there[:, None], shown, -jnp.inf), axis=-1)
        scores = jax.vmap(lambda each, place: each[place])(scores, jnp.maximum(batch.regions, 0))
        if self.colours and scores.shape[-1] > 1:
            scores = _extended(scores, batch, jnp.asarray(own))
        return strongest(scores, batch.classes)

    def said(self) -> str:
        extended = ", extended by colours" if self.colours else ""
        return (
            f"up to {self.count} superpixels classified by a network, "
            f"{self.mining.epochs} epochs of sure ones{extended}"
        )


def _extended(scores: jax.Array, batch: Padded, own: jax.Array) -> jax.Array:
    """Scores [b, h, w, 1 + n] whose first class is found where its colours are too."""
    height, width = batch.images.shape[1:3]
    cell = height // batch.scores.shape[1]
    prior = resize_padded(
        batch.scores[..., 1:2],
        (height, width),
        extent(batch.sizes, cell),
        batch.sizes,
        align_corners=False,
    )[..., 0]
    found = jnp.argmax(scores, axis=-1) > 0
    posterior = object_posterior(prior, found, colour_bins(batch.images), own)
    joins = (posterior > 0.5) & ~found & (prior > 0.0)
    of_object = jnp.stack([1.0 - posterior, posterior], axis=-1)
    of_object = jnp.pad(of_object, ((0, 0),) * 3 + ((0, scores.shape[-1] - 2),))
    return jnp.where(joins[..., None], of_object, scores)
