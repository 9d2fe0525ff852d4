"""The settings of the search for neighbours."""

import dataclasses
from typing import ClassVar

from hfpl_jax.section import Section
from hfpl_jax.setting import at_least, setting


@dataclasses.dataclass(frozen=True)
class Neighbours(Section):
    """Photographs that look alike, found before any training."""

    path: ClassVar[str] = "neighbours"

    enabled: bool = setting(
        False, "find the nearest photographs of each one of train, and near-duplicates in val"
    )
    long_side: int = setting(
        224, "pixels of the long side at which the pretrained backbone sees them", at_least(32)
    )
