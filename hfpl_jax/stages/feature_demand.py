"""How much disk stored features take, what would take less, and whether there is as much."""

import dataclasses
import logging
import pathlib
import shutil

from ml_collections import ConfigDict

from hfpl_jax.build import build_backbone, build_method
from hfpl_jax.errors import InputError
from hfpl_jax.inference.distinct import Size
from hfpl_jax.inference.feature_writer import stored_bytes

_FEWER = 256
"""Channels of the projection that the sentence about disk space proposes."""

_SHRINK = 3
"""How much smaller compression makes records at best: those of layer3 and layer4 of a
ResNet-50 to 0.35 of their size.
"""

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Demand:
    """What the features of some photographs take.

    Attributes:
      section: of the settings that decide it.
      count: of the photographs.
      total: bytes.
      alone: bytes with one of the layers alone, by its name.
      projected: bytes with a projection to `_FEWER` channels.
    """

    section: str
    count: int
    total: int
    alone: dict[str, int]
    projected: int

    @classmethod
    def of(cls, config: ConfigDict, sizes: list[Size]) -> "Demand":
        method, backbone = build_method(config), build_backbone(config)
        kept = method.kept(backbone)
        strides = {name: backbone.strides[name] for name in kept.layers}
        widths = kept.kept_widths(backbone)
        fewer = {name: min(_FEWER, width) for name, width in widths.items()}

        def total(layers: dict[str, int], widths: dict[str, int]) -> int:
            return sum(stored_bytes(size, layers, widths) for size in sizes)

        alone = {name: total({name: stride}, widths) for name, stride in strides.items()}
        return cls(method.path, len(sizes), total(strides, widths), alone, total(strides, fewer))

    def __str__(self) -> str:
        each = self.total / max(self.count, 1)
        return (
            f"The features {', '.join(self.alone)} of {self.count:,} photographs take up to "
            f"{_size(self.total)} before compression, {_size(each)} each."
        )

    @property
    def cure(self) -> str:
        """What to set to need less."""
        ways = []
        if len(self.alone) > 1:
            least = min(self.alone, key=lambda name: self.alone[name])
            ways.append(
                f"fewer config.{self.section}.layers (('{least}',) takes "
                f"{_size(self.alone[least])})"
            )
        if self.projected < 0.9 * self.total:
            ways.append(f"config.{self.section}.channels={_FEWER} (takes {_size(self.projected)})")
        ways.append(f"a smaller config.{self.section}.long_side")
        return ", ".join(ways[:-1]) + (", or " if len(ways) > 1 else "") + ways[-1]


def _size(count: float) -> str:
    """2400000 -> '2.4 MB'."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.1f} kB"


def check_space(records: pathlib.Path, demand: Demand, needed: int) -> None:
    """Raises InputError where the disk of the folder `records` has not a third of so many
    bytes free, to which records of features shrink, and warns where it has less than all.
    """
    place = next(path for path in (records, *records.parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if needed <= free:
        return
    text = (
        f"{demand} {_size(needed)} of that are still to be written, but {place} has {_size(free)} "
        "free."
    )
    if needed > _SHRINK * free:
        raise InputError(
            f"{text} Free some space, name a folder on a larger disk in config.run.features, or "
            f"set {demand.cure}."
        )
    _LOG.warning("%s They may fit, as they are compressed.", text)
