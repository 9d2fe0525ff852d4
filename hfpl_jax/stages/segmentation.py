"""Trains the final network on the exported pseudo-labels, read back through the loader
of every other training.
"""

import functools
import hashlib
import json
import logging

from hfpl_jax.build import (
    build_segmentation_network,
    frozen_patterns,
    initial_variables,
    variable_shapes,
)
from hfpl_jax.data.dataset import Dataset
from hfpl_jax.data.transforms.segmentation_crop import SegmentationCrop
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.pretrain import folder as pretraining
from hfpl_jax.training.fit import Fit, fit
from hfpl_jax.training.objectives.pixel_losses import LOSSES
from hfpl_jax.training.objectives.segmentation import Segmentation

_LOG = logging.getLogger(__name__)


def content_read(context: Context) -> str:
    """A hash of what this training reads of the export."""
    export = Dataset(context.workdir / "export" / "array_record")
    digest = hashlib.sha256(json.dumps(export.class_names).encode())
    for example in export.split(context.label_split):
        for part in (example.image, example.segmentation_mask):
            digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def run(context: Context) -> dict:
    config, export = context.config, Dataset(context.workdir / "export" / "array_record")
    return fit(job(context, export), context.folder, seed=config.seed, run=config.run)


def job(context: Context, export: Dataset) -> Fit:
    """The training, on the photographs and pseudo-labels of an export."""
    config, settings = context.config, context.config.segmentation
    split, num_classes = export.split(context.label_split), len(export.class_names)
    _LOG.info(
        "Training the segmentation network on %d pseudo-labels of %d classes.",
        len(split),
        num_classes,
    )
    network = build_segmentation_network(config, num_classes)
    return Fit(
        network=network,
        objective=Segmentation(LOSSES[settings.loss].of(settings[settings.loss])),
        variables=functools.partial(initial_variables, config, network, pretraining(context)),
        shapes=functools.partial(variable_shapes, network),
        source=split,
        transform=SegmentationCrop(num_classes, settings.crop_size, tuple(settings.scale_range)),
        section="segmentation",
        settings=settings,
        freeze=frozen_patterns(config, "segmentation", network),
        class_names=export.class_names,
        schedule_tail=1,  # as published: the last step still learns
    )
