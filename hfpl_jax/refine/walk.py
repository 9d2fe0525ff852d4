"""The random walk of PSA: a network learns which near pixels belong together from what
two CRFs are sure of, and scores spread along these affinities.

Source: Ahn and Kwak, "Learning Pixel-level Semantic Affinity with Image-level
Supervision for Weakly Supervised Semantic Segmentation", CVPR 2018.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np

from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.inference.cam_record import encode_maps
from hfpl_jax.models.affinity_network import AffinityNetwork
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.refine.affinity import Affinity, AffinityCrop, AffinityLoss
from hfpl_jax.refine.background import background_score, threshold_background
from hfpl_jax.refine.crf import CrfSection, crf_switches, of_photograph
from hfpl_jax.refine.random_walk import random_walk, upsample_walked
from hfpl_jax.refine.refiner import (
    LearningRefiner,
    Padded,
    Photograph,
    Refined,
    most_probable,
)
from hfpl_jax.refine.strongest import strongest
from hfpl_jax.section import Switch
from hfpl_jax.setting import at_least, setting
from hfpl_jax.training.objective import Apply


@dataclasses.dataclass(frozen=True)
class WalkCrf(CrfSection):
    """The CRF whose maps AffinityNet learns from."""

    path: ClassVar[str] = "refine.random_walk.crf"
    switches: ClassVar[tuple[Switch, ...]] = crf_switches(path)


@dataclasses.dataclass(frozen=True)
class RandomWalk(LearningRefiner):
    """Refinement by a random walk along learnt affinities."""

    path: ClassVar[str] = "refine.random_walk"
    evidence_stage: ClassVar[str] = "crf"
    evidence_fields: ClassVar[tuple[str, ...]] = ("crf", "affinity.alphas")
    evidence_title: ClassVar[str] = "CRF"
    evidence_cure: ClassVar[str] = (
        "give colours less weight with a smaller --config.refine.random_walk.crf.weight"
    )
    training: ClassVar[type[Affinity]] = Affinity
    objective: ClassVar[AffinityLoss] = AffinityLoss()

    crf: WalkCrf = dataclasses.field(kw_only=True)
    affinity: Affinity = dataclasses.field(kw_only=True)
    alpha: float = setting(
        0.0,
        "background score (1 - strongest CAM)^alpha of the walk; 0 for the threshold instead",
        at_least(0),
    )
    beta: int = setting(8, "exponent of the affinities", at_least(1))
    steps: int = setting(64, "of the walk", at_least(0))

    def check(self, *, threshold: float | None, output_stride: int) -> None:
        self.affinity.check_crop(output_stride)

    def evidence(self, photograph: Photograph, *, learnt: bool) -> tuple[Refined, dict[str, bytes]]:
        """The CRF's mask at the threshold, and its maps of the two backgrounds."""
        scores = [threshold_background(photograph.cams, photograph.threshold)]
        if learnt:
            scores += [background_score(photograph.cams, alpha) for alpha in self.affinity.alphas]
        probabilities, *maps = of_photograph(self.crf, photograph, scores)
        refined = most_probable(probabilities, photograph.classes)
        return refined, {f"alpha{index}": encode_maps(each) for index, each in enumerate(maps)}

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool
    ) -> AffinityNetwork:
        return AffinityNetwork(backbone, frozen_batch_norm=frozen_batch_norm)

    def transform(self, cell: int) -> AffinityCrop:
        return AffinityCrop(self.affinity.crop_size, cell)

    def start(self, photograph: Photograph, cell: int) -> np.ndarray:
        if not self.alpha:
            return super().start(photograph, cell)
        return average_pool(background_score(photograph.cams, self.alpha), cell)

    def walked(self, batch: Padded, apply: Apply) -> jax.Array:
        """Scores after the walk at the photographs' resolution, [b, h, w, 1 + n]."""
        height, width = batch.images.shape[1:3]
        cell = height // batch.scores.shape[1]
        cells = -(-batch.sizes // cell)
        # As published, the photograph is completed to whole cells with the mean colour,
        # and the network sees that as part of it.
        pixels = normalize(batch.images, inside(batch.sizes, height, width))
        features = apply(pixels, cells * cell)
        walked = random_walk(features, batch.scores, cells, beta=self.beta, steps=self.steps)
        return upsample_walked(walked, cells, cell=cell)

    def refine(self, batch: Padded, apply: Apply | None = None) -> Refined:
        assert apply is not None
        return strongest(self.walked(batch, apply), batch.classes)

    def said(self) -> str:
        background = f"(1 - CAM)^{self.alpha:g}" if self.alpha else "the threshold"
        return (
            f"random walk of {self.steps} steps from {background}, affinities to the power "
            f"{self.beta}, learnt from the {self.crf.said()}"
        )
