"""The settings of instance masks."""

import dataclasses
import pathlib
from typing import ClassVar

from hfpl_jax.inference.given_proposals import GivenProposals
from hfpl_jax.section import Section
from hfpl_jax.setting import at_least, setting, within

OWN = "own"
"""Of config.instances.proposals: regions of the pseudo-labels."""


@dataclasses.dataclass(frozen=True)
class Instances(Section):
    """Instances by the peaks of the classifier, as in PRM."""

    path: ClassVar[str] = "instances"

    enabled: bool = setting(False, "whether instances are looked for")
    proposals: str = setting(
        OWN,
        'regions that may be one: "own" for components and superpixels of the pseudo-labels, or a '
        "file of JSON lines with file_name and COCO's run-length code as segmentation",
    )
    peak_threshold: float = setting(0.0, "logit that a peak is above; 30 as published", at_least(0))
    peak_share: float = setting(
        0.5,
        "of the highest peak of its class in the photograph, which a peak reaches; 0 as published",
        within(0, 1),
    )

    def given(self) -> GivenProposals | None:
        """The proposals in a file; None for our own."""
        if self.proposals == OWN:
            return None
        path = pathlib.Path(self.proposals).expanduser()
        return GivenProposals(path, f"config.{self.path}.proposals")
