"""Stores what a frozen backbone sees in every photograph that is trained on or gets
CAMs, for methods whose heads learn from that alone.

Writes records of features, and photographs.json: where they are and whose. Several runs
share the records where config.run.features names a folder for them.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from hfpl_jax.build import build_backbone, build_method, pretrained_backbone
from hfpl_jax.data.stored_features import Blank, StoredSplit, parts_count, write_listing
from hfpl_jax.errors import InputError
from hfpl_jax.inference.frozen_features import (
    Distinct,
    FeaturePredictor,
    Size,
    stored_bytes,
    write_features,
)
from hfpl_jax.inference.multi_scale import MultiScale
from hfpl_jax.models.weights.read import RANDOM
from hfpl_jax.runtime import distributed, workdir_lock
from hfpl_jax.runtime.manifest import read_manifest
from hfpl_jax.runtime.records import finished_records
from hfpl_jax.runtime.sharding import local_mesh, replicated
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.notices import NOTICES

_LOG = logging.getLogger(__name__)

_FEWER = 256
"""Channels of the projection that the sentence about disk space proposes."""


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
            f"{_size(self.total)}, {_size(each)} each."
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
        return ", ".join([*ways, f"or a smaller config.{self.section}.long_side"])


def _size(count: float) -> str:
    """2400000 -> '2.4 MB'."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.1f} kB"


def run(context: Context) -> dict:
    config = context.config
    if not config.model.weights:
        raise InputError(
            "config.model.weights is empty, but the frozen backbone is made of it. Set it to a "
            f"file of ImageNet weights, such as resnet50.safetensors, or to {RANDOM!r}."
        )
    backbone = build_backbone(config)
    variables = pretrained_backbone(config, backbone)  # before any photograph is read
    mesh = local_mesh(config.run.cam_batch_size, "config.run.cam_batch_size")
    kept = build_method(config).kept(backbone)
    settings = looks(config)
    placed = jax.device_put(variables, replicated(mesh))
    predictor = FeaturePredictor(backbone, kept, placed, settings, mesh)
    splits = [context.dataset.split(name) for name in split_names(config)]
    photographs = Distinct.of(splits, settings)
    records = _records(context)
    with _alone(records, context):
        done = set(finished_records(records, parts=parts_count(len(kept.layers)))[0])
        left = [size for key, size in photographs.sizes.items() if key not in done]
        demand = Demand.of(config, list(photographs.sizes.values()))
        _LOG.info("%s To need less: %s.", demand, demand.cure)
        if left:
            _check_space(records, demand, Demand.of(config, left).total)
        distributed.meet()  # all have seen what was there
        if left:
            write_features(
                predictor,
                photographs,
                records,
                padded_shapes=config.run.padded_shapes,
                shard_size=config.run.shard_size,
            )
        distributed.meet()
    if distributed.is_first():
        place = os.path.relpath(records, context.folder)
        own = records.is_relative_to(context.folder)
        write_listing(
            context.folder,
            place if own else os.fspath(records),
            predictor.strides,
            photographs.listed,
        )
    notices = []
    if config.model.weights == RANDOM:
        notices.append(
            "The features are those of a backbone of random numbers, which knows colours and edges "
            "at best. Set config.model.weights to a file of pretrained weights."
        )
    return {"photographs": len(photographs), "bytes": demand.total, NOTICES: notices}


def split_names(config: ConfigDict) -> tuple[str, ...]:
    """Those that are trained on, labelled and scored."""
    data = config.data
    named = (data.train_split, data.label_split or data.train_split, data.val_split)
    return tuple(filter(None, dict.fromkeys(named)))


def looks(config: ConfigDict) -> MultiScale:
    """How the frozen backbone looks at photographs."""
    long_side = build_method(config).kept(build_backbone(config)).long_side
    return MultiScale((1.0,), long_side, False, config.run.cam_batch_size)


def serve_cams(config: ConfigDict) -> bool:
    """Whether CAMs are made of the stored features: where the photographs are looked at
    once, at the size at which the backbone has seen them.
    """
    if not build_method(config).frozen:
        return False
    inference = config.inference
    scales = tuple(float(scale) for scale in inference.scales)
    return MultiScale(
        scales, inference.long_side or None, inference.flip, config.run.cam_batch_size
    ) == looks(config)


def stored(context: Context, split: str) -> StoredSplit:
    """The features of a split, once this stage is done."""
    return StoredSplit(context.workdir / "features", split)


def unstored(context: Context, split: str) -> Blank:
    """In their place, before it has run."""
    config = context.config
    backbone, method = build_backbone(config), build_method(config)
    kept = method.kept(backbone)
    listed = Distinct.of([context.dataset.split(split)], looks(config)).listed[split]
    strides = {name: backbone.strides[name] for name in kept.layers}
    size = kept.long_side, kept.long_side
    return Blank(listed, strides, kept.kept_widths(backbone), size)


def demanded(context: Context) -> Demand:
    """What the features of a configuration would take."""
    config = context.config
    splits = [context.dataset.split(name) for name in split_names(config)]
    return Demand.of(config, list(Distinct.of(splits, looks(config)).sizes.values()))


def _records(context: Context) -> pathlib.Path:
    """The folder of the records: this run's own, or of all that have the same features."""
    shared = context.config.run.features
    if not shared:
        return context.folder / "records"
    fingerprint = read_manifest(context.folder)["fingerprint"]
    return pathlib.Path(shared).expanduser().absolute() / fingerprint


@contextlib.contextmanager
def _alone(records: pathlib.Path, context: Context) -> Iterator[None]:
    """No other run writes these records meanwhile."""
    shared = not records.is_relative_to(context.folder)
    if not shared or not distributed.is_first():
        yield
        return
    with workdir_lock.held(records):
        yield


def _check_space(records: pathlib.Path, demand: Demand, needed: int) -> None:
    place = next(path for path in (records, *records.parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise InputError(
            f"{demand} {_size(needed)} of that are still to be written, but {place} has "
            f"{_size(free)} free. Free some space, name a folder on a larger disk in "
            f"config.run.features, or set {demand.cure}."
        )
