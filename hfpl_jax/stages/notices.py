"""What a person must know before she trusts a run: finished sentences with their cure.

A stage hands them over as `"notices"` among the facts of its manifest. The command
prints those of every stage after its last line, also where all was done already, and
the report shows them above everything else.
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

from hfpl_jax.metrics.threshold_sweep import THRESHOLDS
from hfpl_jax.models.weights.read import RANDOM

NOTICES = "notices"

_TRAIN_ANEW = (
    "train anew with another --config.seed, a lower --config.train.learning_rate or more "
    "--config.train.epochs"
)
_MASKS = {
    "cam": (
        "CAMs",
        f"Look at the pictures in the report: if the CAMs miss the objects, {_TRAIN_ANEW}; if they "
        "do not, the numbers in the masks are not those of the classes.",
    ),
    "pseudo_label": (
        "pseudo-labels",
        "If the report shows better CAMs, make the pseudo-labels from them alone with "
        "--config.refine.name=threshold.",
    ),
    "segmentation": (
        "label maps of the final network",
        "If the report shows better pseudo-labels, train it anew with more "
        "--config.segmentation.epochs or another --config.segmentation.learning_rate.",
    ),
}
"""Kind of masks -> (its name, what to do where they are worth nothing)."""


def notices_of(manifest: Mapping, number: int = 1) -> tuple[str, ...]:
    """The sentences that a finished stage left in its manifest; those of a later round
    say which.
    """
    said = f"Round {number}: " if number > 1 else ""
    return tuple(said + notice for notice in manifest.get("facts", {}).get(NOTICES, ()))


def random_notices(config: ConfigDict, said: str, or_else: str = "") -> list[str]:
    """A sentence where the pretrained backbone is one of random numbers.

    Args:
      config: whose weights it has.
      said: what was made with it: "The neighbours were found with".
      or_else: another cure, such as ", or config.refine.name to crf".
    """
    if config.model.weights != RANDOM:
        return []
    return [
        f"{said} a backbone of random numbers, which knows colours and edges at best. Set "
        f"config.model.weights to a file of ImageNet weights{or_else}."
    ]


def threshold_notices(threshold: float, *, given: bool) -> list[str]:
    """A sentence where the background threshold lies at an end of what is possible.

    Args:
      threshold: the background threshold, in [0, 1).
      given: by the user, and not chosen on masks.
    """
    if threshold <= THRESHOLDS[0]:
        said = (
            f"The background threshold is {threshold:.2f}, the lowest there is: every pixel with "
            "the least evidence counts as an object."
        )
        reason = "The CAMs do not separate objects from background"
    elif threshold >= THRESHOLDS[-1]:
        said = (
            f"The background threshold is {threshold:.2f}, the highest that is tried: nearly every "
            "pixel counts as background."
        )
        reason = "No object of the masks lies where its CAM is strong"
    else:
        return []
    cure = (
        "Set --config.labels.threshold=train, or a number between, such as 0.25."
        if given
        else f"{reason}: look at the pictures in the report, and {_TRAIN_ANEW}."
    )
    return [f"{said} {cure}"]


def background_notices(
    metrics: Mapping[str, float], kind: str, masks: tuple[str, str] | None = None
) -> list[str]:
    """A sentence where masks have no higher mIoU than background everywhere, on any
    split.

    Args:
      metrics: `{role}/{kind}/{figure}` -> value, of `flat_metrics`.
      kind: of the masks: cam, pseudo_label or segmentation; of other masks that of
        `masks`, their name and what to do where they are worth nothing.
    """
    worthless = []
    for role in ("train", "val"):
        miou = metrics.get(f"{role}/{kind}/miou")
        nothing = metrics.get(f"{role}/{kind}/miou_all_background")
        if miou is not None and nothing is not None and miou <= nothing:
            worthless.append(f"{100 * miou:.1f} % on {role}, not above {100 * nothing:.1f} %")
    if not worthless:
        return []
    name, cure = masks or _MASKS[kind]
    return [
        f"The mIoU of the {name} is {' and '.join(worthless)}, which masks of background alone "
        f"would have: they are worth nothing. {cure}"
    ]
