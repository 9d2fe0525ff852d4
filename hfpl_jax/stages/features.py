"""Stores what a frozen backbone sees in every photograph that is trained on or gets
CAMs, for methods whose heads learn from that alone.

Writes photographs.json, where the records are and whose. They lie in a folder named by
the settings that made them, in WORKDIR/stored_features or, for several runs to share, in
config.run.features: what is there of a photograph is never made again.
"""

import contextlib
import logging
import os
import pathlib
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from hfpl_jax.build import build_backbone, build_method, pretrained_backbone
from hfpl_jax.data.stored_features import Blank, Listed, StoredSplit, parts_count, write_listing
from hfpl_jax.errors import InputError
from hfpl_jax.inference.distinct import Distinct
from hfpl_jax.inference.feature_writer import FeaturePredictor, write_features
from hfpl_jax.inference.multi_scale import MultiScale
from hfpl_jax.runtime import distributed, workdir_lock
from hfpl_jax.runtime.manifest import read_manifest
from hfpl_jax.runtime.records import finished_records
from hfpl_jax.runtime.sharding import local_mesh, replicated
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.feature_demand import Demand, check_space
from hfpl_jax.stages.notices import NOTICES, random_notices

_LOG = logging.getLogger(__name__)

_OWN = "stored_features"
"""The folder of a workdir that has records, beside the stage's own, which is emptied when
a label changes.
"""


def run(context: Context) -> dict:
    config = context.config
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
    with _alone(records):
        done = set(finished_records(records, parts=parts_count(len(kept.layers)))[0])
        left = [size for key, size in photographs.sizes.items() if key not in done]
        demand = Demand.of(config, list(photographs.sizes.values()))
        _LOG.info("%s To need less: %s.", demand, demand.cure)
        if left:
            check_space(records, demand, Demand.of(config, left).total)
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
        own = records.is_relative_to(context.workdir)
        write_listing(
            context.folder,
            place if own else os.fspath(records),
            predictor.strides,
            photographs.listed,
        )
    notices = random_notices(config, "The features are those of")
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
    batch_size = config.run.cam_batch_size
    return MultiScale.of(inference, flip=inference.flip, batch_size=batch_size) == looks(config)


def size_notices(config: ConfigDict) -> list[str]:
    """A sentence where CAMs are made at another size than the head has learnt at."""
    long_side = config.inference.long_side
    if not build_method(config).frozen or long_side == looks(config).long_side:
        return []
    size = f"a long side of {long_side}" if long_side else "the photographs' own size"
    return [
        f"CAMs were made at {size}, but the head learnt from features of a long side of "
        f"{looks(config).long_side}. Set --config.inference.long_side={looks(config).long_side}."
    ]


def stored(context: Context, split: str) -> StoredSplit:
    """The features of a split, once this stage is done."""
    return StoredSplit(context.workdir / "features", split)


def there(context: Context) -> bool:
    """Whether the features that this stage has listed are still where they were."""
    try:
        for split in split_names(context.config):
            stored(context, split)
    except InputError:
        return False
    return True


def unstored(context: Context, split: str) -> Blank:
    """In their place, before it has run."""
    config = context.config
    backbone, method = build_backbone(config), build_method(config)
    kept = method.kept(backbone)
    entries = context.dataset.split(split).entries()
    shown = [(each.file_name, each.labels.tolist()) for each in entries]
    names = [name for name, _ in shown]
    listed = Listed(names, names, [labels for _, labels in shown])  # no key is looked for
    strides = {name: backbone.strides[name] for name in kept.layers}
    size = kept.long_side, kept.long_side
    return Blank(listed, strides, kept.kept_widths(backbone), size)


def demanded(context: Context) -> Demand:
    """What the features of a configuration would take."""
    config = context.config
    splits = [context.dataset.split(name) for name in split_names(config)]
    return Demand.of(config, list(Distinct.of(splits, looks(config)).sizes.values()))


def _records(context: Context) -> pathlib.Path:
    """The folder of the records of all that have these settings, of whatever
    photographs.
    """
    shared = context.config.run.features
    folder = pathlib.Path(shared).expanduser().absolute() if shared else context.workdir / _OWN
    return folder / read_manifest(context.folder)["settings"]


@contextlib.contextmanager
def _alone(records: pathlib.Path) -> Iterator[None]:
    """No other run writes these records meanwhile."""
    if not distributed.is_first():
        yield
        return
    with workdir_lock.held(records):
        yield
