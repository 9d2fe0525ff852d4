"""Trains the final network on the exported pseudo-labels, read back through the loader of every other training."""

import functools
import logging

import jax

from hfpl_jax.build import build_segmentation_network, initial_variables
from hfpl_jax.data.augment_segmentation import SegmentationCrop
from hfpl_jax.data.batches import batch_stream
from hfpl_jax.data.dataset import Dataset
from hfpl_jax.methods.segmentation import Segmentation
from hfpl_jax.stages.context import Context
from hfpl_jax.training.fit import Fit, fit

_LOG = logging.getLogger(__name__)


def run(context: Context) -> dict:
    config, settings = context.config, context.config.segmentation
    export = Dataset(context.workdir / "export")
    split, num_classes = export.split(context.label_split), len(export.class_names)
    _LOG.info("Training the segmentation network on %d pseudo-labels of %d classes.", len(split), num_classes)
    network = build_segmentation_network(config, num_classes)
    steps = max(1, len(split) // settings.batch_size) * settings.epochs
    transform = SegmentationCrop(num_classes, settings.crop_size, tuple(settings.scale_range))
    job = Fit(
        network=network,
        method=Segmentation(),
        variables=functools.partial(initial_variables, config, network),
        batches=functools.partial(_batches, split=split, transform=transform, config=config),
        section="segmentation",
        settings=settings,
        steps=steps,
        schedule_steps=steps + 1,  # as published: the last step still learns
    )
    return fit(job, context.folder, seed=config.seed, run=config.run)


def _batches(start_step: int, *, split, transform, config):
    return batch_stream(
        split,
        transform,
        batch_size=config.segmentation.batch_size,
        seed=config.seed,
        start_step=start_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=config.run.num_workers,
    )
