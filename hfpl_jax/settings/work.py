"""The settings of export and report, and of how the work is done."""

import dataclasses
from typing import ClassVar

from hfpl_jax.export import FORMATS
from hfpl_jax.section import Section, Switch
from hfpl_jax.setting import at_least, setting, some_of

_COLOURED = [name for name, format in FORMATS.items() if format.coloured]


@dataclasses.dataclass(frozen=True)
class Export(Section):
    """The pseudo-labels as a dataset."""

    path: ClassVar[str] = "export"

    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            ("export.palette",),
            lambda config, _: not {*_COLOURED}.isdisjoint(config.export.formats),
            " or ".join(_COLOURED) + " among config.export.formats",
        ),
    )

    formats: tuple[str, ...] = setting(
        ("tfrecord",), "of the files, each in a folder of its name", some_of(*FORMATS)
    )
    image: bool = setting(True, "photographs beside the masks")
    confidence: bool = setting(True, "confidence maps beside the masks")
    palette: bool = setting(
        True, "colours in the PNGs of masks; False for grey ones, which OpenCV reads as classes"
    )


@dataclasses.dataclass(frozen=True)
class Report(Section):
    """The page and the picture."""

    path: ClassVar[str] = "report"

    photographs: int = setting(8, "in each picture", at_least(1))


@dataclasses.dataclass(frozen=True)
class Run(Section):
    """How the work is done; changing it repeats nothing."""

    path: ClassVar[str] = "run"

    num_workers: int = setting(0, "processes that decode and augment; 0 for threads", at_least(0))
    shard_parameters: bool = setting(
        False, "divide large parameters among the devices, where one cannot hold them all"
    )
    log_every: int = setting(10, "steps", at_least(1))
    checkpoint_every: int = setting(100, "steps", at_least(1))
    keep_checkpoints: int = setting(2, "the latest ones", at_least(1))
    cam_batch_size: int = setting(
        8, "photographs, at inference; one CPU looks at one after another", at_least(1)
    )
    padded_shapes: int = setting(4, "compilations of the network a scale", at_least(1))
    shard_size: int = setting(64, "records", at_least(1))
    features: str = setting(
        "",
        "a folder for stored features, which several runs share, outside the stages of any; "
        '"" for WORKDIR/stored_features',
    )
    compilation_cache: str = setting("", '"" for WORKDIR/compilation_cache')
