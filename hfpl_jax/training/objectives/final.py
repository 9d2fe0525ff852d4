"""What the final network may be trained for: settings, networks and losses in one, and
which photographs count as labelled.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax

from hfpl_jax.section import Section, Switch
from hfpl_jax.setting import above_up_to, from_to_below, setting, within
from hfpl_jax.training.objective import Apply, Batch, Objective, Prediction
from hfpl_jax.training.objectives.segmentation import Segmentation

LABELLED, UNLABELLED = "labelled", "unlabelled"
"""Names of sources beside the first one, which is of labelled photographs as well."""


@dataclasses.dataclass(frozen=True)
class FinalObjective(Section, Objective):
    """Base of the objectives, whose fields are settings beside those of the training.

    A photograph is labelled where more than `share` of its pixels, or as many, have a
    confidence above `confidence`; all others are unlabelled.

    Attributes:
      beside: the other sources of a batch, by name.
      supervised: what is learnt of labelled photographs.
      crop_size: side of their crops in pixels.
    """

    beside: ClassVar[tuple[str, ...]] = ()

    share: float = setting(
        0.5, "of a photograph's pixels, confident where it is a labelled one", above_up_to(0, 1)
    )
    confidence: float = setting(
        0.9, "of a pixel's label, above which it is a confident one", from_to_below(0, 1)
    )
    supervised: Objective = dataclasses.field(default_factory=Segmentation)
    crop_size: int = 0

    @property
    def splits(self) -> bool:
        """Whether it matters which photographs are labelled."""
        return self.share > 0

    def network(self, make: Callable[[], nn.Module]) -> nn.Module:
        """What is trained: a final network, of which `make` makes one a call, or a
        `SeveralNetworks`.
        """
        return make()

    def said(self) -> str:
        """What the report says of it; "" for nothing."""
        return ""


@dataclasses.dataclass(frozen=True)
class Supervised(FinalObjective):
    """Nothing but what is learnt of labelled photographs."""

    path: ClassVar[str] = "segmentation.supervised"
    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            ("segmentation.supervised.confidence",),
            lambda config, _: config.segmentation.supervised.share > 0,
            "config.segmentation.supervised.share above 0",
        ),
    )

    share: float = setting(
        0.0,
        "of a photograph's pixels that are confident where it is learnt from; 0 for all",
        within(0, 1),
    )

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        return self.supervised.predict(apply, batch, key)

    def said(self) -> str:
        return "of confident photographs alone" if self.splits else ""
