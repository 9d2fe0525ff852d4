"""Trains the network of a refiner on the evidence that was made for it."""

import functools
import hashlib
import logging
from collections.abc import Sequence

from flax import serialization

from hfpl_jax.build import (
    build_refiner,
    frozen_patterns,
    initial_variables,
    make_network,
    variable_shapes,
)
from hfpl_jax.refine.refiner import LearningRefiner
from hfpl_jax.section import value_of
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.stages.pretrain import folder as pretraining
from hfpl_jax.training.fit import Fit, fit

_LOG = logging.getLogger(__name__)

_LOOKED_AT = ("mask", "confidence")
"""In a record of the evidence, what nothing learns from."""


def content_read(context: Context) -> str:
    """A hash of what this training reads of the evidence."""
    digest = hashlib.sha256()
    for record in _source(context, _refiner(context)).in_order():
        read = [record[name] for name in record if name not in _LOOKED_AT]
        digest.update(hashlib.sha256(serialization.msgpack_serialize(read)).digest())
    return digest.hexdigest()[:16]


def _refiner(context: Context) -> LearningRefiner:
    refiner = build_refiner(context.config)
    assert isinstance(refiner, LearningRefiner)
    return refiner


def _source(context: Context, refiner: LearningRefiner) -> Pairs:
    source = Pairs(context, refiner.evidence_stage, context.label_split)
    source.sort()  # batches do not depend on how many processes wrote the evidence
    return source


def run(context: Context) -> dict:
    refiner = _refiner(context)
    source = _source(context, refiner)
    _LOG.info("Training the network of config.%s on %d photographs.", refiner.path, len(source))
    config = context.config
    return fit(job(context, source), context.folder, seed=config.seed, run=config.run)


def job(context: Context, source: Sequence) -> Fit:
    """The training, on (record of the evidence, photograph) of each photograph."""
    config, refiner = context.config, _refiner(context)
    section = refiner.training.path
    network = make_network(config, section, len(context.dataset.class_names))
    return Fit(
        network=network,
        objective=refiner.objective,
        variables=functools.partial(initial_variables, config, network, pretraining(context)),
        shapes=functools.partial(variable_shapes, network),
        source=source,
        transform=refiner.transform(network.backbone.output_stride),
        section=section,
        settings=value_of(config, section),
        freeze=frozen_patterns(config, section, network),
        class_names=context.dataset.class_names if refiner.training.has_classes else (),
    )
