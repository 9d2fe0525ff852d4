"""The settings of classifier and final network."""

import dataclasses
from typing import ClassVar

from hfpl_jax.models.segmentation_network import HEADS
from hfpl_jax.refine.crf import CrfSection, crf_switches
from hfpl_jax.section import Switch
from hfpl_jax.setting import (
    above,
    above_up_to,
    anew,
    ascending,
    at_least,
    choice,
    one_of,
    setting,
    some,
)
from hfpl_jax.training.objectives import OBJECTIVES
from hfpl_jax.training.objectives.final import FinalObjective
from hfpl_jax.training.objectives.pixel_losses import LOSSES, PixelLoss
from hfpl_jax.training.optimizer import OPTIMIZERS, Sgd
from hfpl_jax.training.settings import Training


@dataclasses.dataclass(frozen=True)
class Train(Training):
    """Training of the classifier."""

    path: ClassVar[str] = "train"

    resize_long: tuple[int, int] = setting(
        (448, 768), "range of the long side in pixels", ascending(at_least(1))
    )
    jitter: bool = setting(True, "whether colours are jittered")


@dataclasses.dataclass(frozen=True)
class FinalCrf(CrfSection):
    """The CRF on the final network's label maps."""

    path: ClassVar[str] = "segmentation.crf"
    switches: ClassVar[tuple[Switch, ...]] = crf_switches(path)

    iterations: int = setting(1, "of the mean field; 0 for no CRF", at_least(0))


@dataclasses.dataclass(frozen=True)
class _PublishedSgd(Sgd):
    __doc__ = Sgd.__doc__

    momentum: float = anew(Sgd, "momentum", 0.9)


@dataclasses.dataclass(frozen=True)
class Segmentation(Training):
    """Training of the final network on the exported pseudo-labels; its inference."""

    path: ClassVar[str] = "segmentation"

    own_objective: FinalObjective = dataclasses.field(kw_only=True)
    own_loss: PixelLoss = dataclasses.field(kw_only=True)
    crf: FinalCrf = dataclasses.field(kw_only=True)

    epochs: int = setting(
        0, "passes over the labelled photographs; 0 for no final network", at_least(0)
    )
    objective: str = choice(
        "supervised", "what is learnt, and of which photographs of the export", OBJECTIVES
    )
    learning_rate: float = anew(Training, "learning_rate", 0.001)
    optimizer: str = choice(
        "sgd", "what makes steps of gradients", {**OPTIMIZERS, "sgd": _PublishedSgd}
    )
    no_decay: tuple[str, ...] = anew(Training, "no_decay", ("/bias$",))
    multipliers: tuple[tuple[str, float], ...] = anew(
        Training,
        "multipliers",
        ((r"^head/.*/bias$", 20.0), (r"^head/", 10.0), (r"/bias$", 2.0)),
    )
    freeze_stages: int = anew(Training, "freeze_stages", 0)
    head: str = setting(
        "deeplab_v2",
        "v1 has a large field of view; in ocr a pixel sees the regions that resemble it",
        one_of(*HEADS),
    )
    loss: str = choice("cross_entropy", "of logits and pseudo-labels", LOSSES)
    frozen_batch_norm: bool = setting(
        False, "statistics of the file, not of the batch; of no effect with random weights"
    )
    batch_norm_momentum: float = setting(
        0.0003,
        "share of a batch in the running statistics, where they are not frozen",
        above_up_to(0, 1),
    )
    scale_range: tuple[float, float] = setting(
        (0.5, 1.5),
        "range of the factor by which a photograph is resized",
        ascending(above(0)),
    )
    scales: tuple[float, ...] = setting(
        (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), "at inference, mirrored too", some(above(0))
    )
    long_side: int = setting(
        0, "pixels of the long side at scale 1; 0 for the photograph's own size", at_least(0)
    )
