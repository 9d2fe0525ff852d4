"""What a refiner is: settings, and one function from photographs, their CAMs and classes
to masks and confidences.

It works on the host, a photograph a thread, or on the device, in batches of padded
photographs; one with a network of its own has that trained before, or takes the
pretrained backbone as it is.
"""

from typing import Any, ClassVar, NamedTuple, Self

import flax.linen as nn
import grain
import jax
import numpy as np

from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.inference.pseudo_labels import label_map_of, margin
from hfpl_jax.refine.background import threshold_background
from hfpl_jax.section import Section
from hfpl_jax.training.objective import Apply, Objective
from hfpl_jax.training.settings import Training, stage_of


class Photograph(NamedTuple):
    """What is known of one photograph.

    image: uint8 [h, w, 3]. cams: float32 [h, w, n] in [0, 1], a map for each of
    `classes`, int [n], zero-based and ascending. threshold: the background score that
    goes with these CAMs, in [0, 1).
    """

    image: np.ndarray
    cams: np.ndarray
    classes: np.ndarray
    threshold: float


class Padded(NamedTuple):
    """A batch of photographs on the device, padded at the bottom and right.

    images: uint8 [b, h, w, 3], 0 in the padding. sizes: int32 [b, 2], height and width
    of each without it. scores: float32 [b, h / cell, w / cell, 1 + n], what `start`
    makes of the CAMs, the background's in front; 0 in the padding and where a
    photograph has fewer classes. classes: int32 [b, n], then -1. regions: int32 [b, h,
    w], what `regions` makes of the photograph, -1 in the padding; [b, 0, 0] where that is
    nothing. A row of the last
    batch that holds no photograph is 0 and of full size.
    """

    images: jax.Array
    sizes: jax.Array
    scores: jax.Array
    classes: jax.Array
    regions: Any = None


class Refined(NamedTuple):
    """Masks uint8 [h, w], 0 for background, class + 1, 255 for ignored, and confidences
    uint8 [h, w], 0 undecided, 255 certain; of a batch [b, h, w].
    """

    mask: Any
    confidence: Any


def most_probable(probabilities: np.ndarray, classes: np.ndarray) -> Refined:
    """The likeliest label and its lead over the next, of [h, w, 1 + n] that sum to
    1.
    """
    return Refined(label_map_of(probabilities, classes), margin(probabilities))


class Refiner(Section):
    """Base of the refiners. A refiner is one file with a frozen dataclass, whose fields
    are its settings, `config.refine.<its name>`; its `path` says so.

    Attributes:
      scored: whether its masks are scored; False where they are those that the CAMs
        were scored with.
      stretches: whether it divides maps of its own by their maximum, so that only a
        threshold that is chosen for maps from 0 to 1 fits them: not the background that
        a method knows itself.
    """

    scored: ClassVar[bool] = True
    stretches: ClassVar[bool] = False

    def in_round(self, number: int) -> Self:
        """The refiner of a round, whose CAMs are from the second on what a final network
        has seen: above 1/2 where it sees a class.
        """
        return self

    def said(self) -> str:
        """What it does, in the report."""
        raise NotImplementedError

    def check(self, *, threshold: float | None, output_stride: int) -> None:
        """Raises InputError where its settings do not go with others: the background
        threshold, None where it is chosen on masks, and the backbone's output stride.
        """


class HostRefiner(Refiner):
    """One that works on the host."""

    def refine(self, photograph: Photograph) -> Refined:
        """Called in several threads at once."""
        raise NotImplementedError


class DeviceRefiner(Refiner):
    """One that works on the device, compiled once for each padded shape."""

    def start(self, photograph: Photograph, cell: int) -> np.ndarray:
        """On the host, the scores that `refine` begins with: [h, w, 1 + n] in cells of
        so many pixels.
        """
        scores = threshold_background(photograph.cams, photograph.threshold)
        return average_pool(scores, cell)

    def regions(self, photograph: Photograph) -> np.ndarray:
        """On the host, the number of each pixel's region, [h, w]; [0, 0] if it has
        none.
        """
        return np.zeros((0, 0), np.int32)

    def refine(self, batch: Padded, apply: Apply | None = None) -> Refined:
        """Traced by `jax.jit`. What it gives in a photograph's own extent must not
        depend on the padding, nor on other photographs. `apply` is the network of a
        `LearningRefiner` or a `PretrainedRefiner`, called with images and `sizes`.
        """
        raise NotImplementedError


class PretrainedRefiner(DeviceRefiner):
    """One that looks at photographs with the backbone of `config.model.weights`, as it is
    there, in float32.
    """

    def network(self, backbone: nn.Module) -> nn.Module:
        """A Linen module around a `Backbone`, its attribute `backbone`, without parameters
        of its own; called with images and `sizes`.
        """
        raise NotImplementedError


class LearningRefiner(DeviceRefiner):
    """One whose network is trained first, on the CAMs or on evidence that is made of
    them.

    Attributes:
      evidence_stage: name of the stage that makes it, and of its folder; "cams" where
        the network learns from the CAMs' records, so that no evidence is made.
      evidence_fields: its settings that decide it, below its `path`.
      evidence_title: of the masks among the evidence, in the report.
      evidence_cure: what to do where these masks are worth nothing.
      training: the settings of the training, a field of this section; its stage has the
        name of that field.
      objective: what the network learns.
    """

    evidence_stage: ClassVar[str] = "cams"
    evidence_fields: ClassVar[tuple[str, ...]] = ()
    evidence_title: ClassVar[str]
    evidence_cure: ClassVar[str]
    training: ClassVar[type[Training]]
    objective: ClassVar[Objective]

    @classmethod
    def makes_evidence(cls) -> bool:
        return cls.evidence_stage != "cams"

    @property
    def trained(self) -> Training:
        """The settings of its training."""
        return getattr(self, stage_of(self.training.path))

    def evidence(self, photograph: Photograph, *, learnt: bool) -> tuple[Refined, dict[str, bytes]]:
        """On the host, in several threads at once: masks to look at and, where it is
        `learnt` from, what the training reads.
        """
        raise NotImplementedError

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool
    ) -> nn.Module:
        """A Linen module around a `Backbone`, its attribute `backbone`; called with
        images, `sizes` and `train`. `frozen_batch_norm`: whether it starts from
        statistics of a file, which it may keep; what the classifier does with its own
        (config.model.frozen_batch_norm) is no matter.
        """
        raise NotImplementedError

    def transform(self, cell: int) -> grain.transforms.RandomMap:
        """(record of the evidence, photograph) -> a randomly augmented element of a
        batch, whose labels are of cells of so many pixels.
        """
        raise NotImplementedError
