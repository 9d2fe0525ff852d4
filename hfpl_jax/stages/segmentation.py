"""Trains the final network on the exported pseudo-labels, read back through the loader
of every other training.
"""

import functools
import hashlib
import json
import logging
import pathlib

from ml_collections import ConfigDict

from hfpl_jax.build import (
    build_final_networks,
    build_final_objective,
    frozen_patterns,
    initial_variables,
    variable_shapes,
)
from hfpl_jax.data.confident import by_confidence
from hfpl_jax.data.dataset import Dataset, Split
from hfpl_jax.data.part import Part
from hfpl_jax.data.sources import Source
from hfpl_jax.data.transforms.segmentation_crop import SegmentationCrop, UnlabelledCrop
from hfpl_jax.errors import InputError
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.pretrain import folder as pretraining
from hfpl_jax.training.fit import Fit, fit
from hfpl_jax.training.objectives.final import LABELLED, UNLABELLED, FinalObjective

_LOG = logging.getLogger(__name__)


def content_of(config: ConfigDict) -> str:
    """Whether this training reads confidence maps too."""
    return "with confidence" if build_final_objective(config).splits else ""


def content_read(context: Context) -> str:
    """A hash of what this training reads of the export."""
    folder = context.workdir / "export" / "array_record"
    export, splits = Dataset(folder), content_of(context.config)
    digest = hashlib.sha256(json.dumps(export.class_names).encode())
    for example in export.split(context.label_split):
        parts = (example.image, example.segmentation_mask)
        for part in (*parts, *((example.confidence or b"",) if splits else ())):
            digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def run(context: Context) -> dict:
    config, folder = context.config, context.workdir / "export" / "array_record"
    export, objective = Dataset(folder), build_final_objective(config)
    labelled, unlabelled = _parts(export.split(context.label_split), objective, folder)
    _LOG.info(
        "Training the segmentation network on %d pseudo-labels of %d classes.",
        len(labelled),
        len(export.class_names),
    )
    counts = {LABELLED: len(labelled), UNLABELLED: len(unlabelled)}
    if objective.splits:
        _LOG.info("%d photographs are labelled, %d are unlabelled.", *counts.values())
    training = job(context, export.class_names, labelled, unlabelled)
    facts = fit(training, context.folder, seed=config.seed, run=config.run)
    return facts | (counts if objective.splits else {})


def job(
    context: Context,
    class_names: tuple[str, ...],
    labelled: Split | Part,
    unlabelled: Split | Part,
) -> Fit:
    """The training on an export's photographs; what it does with the unlabelled ones is
    the objective's.
    """
    config, settings = context.config, context.config.segmentation
    num_classes, objective = len(class_names), build_final_objective(config)
    network = build_final_networks(config, num_classes)
    scale_range = tuple(settings.scale_range)
    crop = SegmentationCrop(num_classes, settings.crop_size, scale_range)
    beside = {
        LABELLED: (labelled, crop),
        UNLABELLED: (unlabelled, UnlabelledCrop(settings.crop_size, scale_range)),
    }
    return Fit(
        network=network,
        objective=objective,
        variables=functools.partial(initial_variables, config, network, pretraining(context)),
        shapes=functools.partial(variable_shapes, network),
        source=labelled,
        transform=crop,
        section="segmentation",
        settings=settings,
        beside={
            name: Source(*beside[name], settings.batch_size, "config.segmentation.batch_size")
            for name in objective.beside
        },
        freeze=frozen_patterns(config, "segmentation", network),
        class_names=class_names,
        schedule_tail=1,  # as published: the last step still learns
    )


def _parts(
    split: Split, objective: FinalObjective, export: pathlib.Path
) -> tuple[Split | Part, Split | Part]:
    """The photographs that are labelled, and the others."""
    if not objective.splits:
        return split, Part(split, ())
    labelled, unlabelled = by_confidence(
        split, confidence=objective.confidence, share=objective.share
    )
    rule = (
        f"of the {len(split)} photographs in {export} has a confidence above "
        f"{objective.confidence:g} on {objective.share:g} of its pixels "
        f"(config.{objective.path}.confidence and .share)"
    )
    if not len(labelled):
        raise InputError(f"None {rule}, so none is labelled. Set one of the two lower.")
    if UNLABELLED in objective.beside and not len(unlabelled):
        raise InputError(
            f"Every one {rule}, so none is unlabelled. Set one of the two higher, or "
            "config.segmentation.objective to 'supervised'."
        )
    return labelled, unlabelled
