"""Trains AffinityNet, which the random walk follows, on what the CRF is sure of."""

import dataclasses
import functools
import hashlib
import logging

import grain
import numpy as np
from flax import serialization

from hfpl_jax.build import (
    build_affinity_network,
    frozen_patterns,
    initial_variables,
    variable_shapes,
)
from hfpl_jax.data.dataset import Example, decode_image
from hfpl_jax.data.transforms.affinity_crop import affinity_crop
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import decode_maps
from hfpl_jax.methods.affinity import Affinity
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.training.fit import Fit, fit

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class AffinityCrop(grain.transforms.RandomMap):
    """(CRF record, photograph) -> a crop and the label map of its cells."""

    crop_size: int
    cell: int

    def random_map(
        self, element: tuple[dict, Example], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        record, example = element
        shape = (record["height"], record["width"], 1 + len(record["labels"]))
        low, high = (decode_maps(record[name], shape) for name in ("alpha0", "alpha1"))
        image = decode_image(example.image, example.file_name)
        if image.shape[:2] != shape[:2]:
            raise InputError(
                f"The CRF maps of {example.file_name} are {shape[1]}x{shape[0]} pixels, the "
                f"photograph {image.shape[1]}x{image.shape[0]}. "
                "Delete the folder crf in the workdir and run the stage crf again."
            )
        classes = np.asarray(record["labels"], np.int64)
        crop, labels = affinity_crop(
            rng, image, low, high, classes, crop_size=self.crop_size, cell=self.cell
        )
        return {
            "image": crop,
            "valid": np.ones(crop.shape[:2], bool),
            "labels": labels,
        }  # the padding is black, not the mean colour


_READ = ("index", "file_name", "labels", "height", "width", "alpha0", "alpha1")
"""Of a CRF record; neither its mask nor how it scores."""


def content_read(context: Context) -> str:
    """A hash of what this training reads of the CRF's records."""
    digest = hashlib.sha256()
    for record in _source(context).in_order():
        read = [record[name] for name in _READ]
        digest.update(hashlib.sha256(serialization.msgpack_serialize(read)).digest())
    return digest.hexdigest()[:16]


def _source(context: Context) -> Pairs:
    source = Pairs(context, "crf", context.label_split)
    source.sort()  # batches do not depend on how many processes wrote the maps
    return source


def run(context: Context) -> dict:
    config, settings = context.config, context.config.affinity
    source = _source(context)
    _LOG.info("Training AffinityNet on %d photographs.", len(source))
    network = build_affinity_network(config)
    job = Fit(
        network=network,
        method=Affinity(),
        variables=functools.partial(initial_variables, config, network),
        shapes=functools.partial(variable_shapes, network),
        source=source,
        transform=AffinityCrop(settings.crop_size, network.backbone.output_stride),
        section="affinity",
        settings=settings,
        freeze=frozen_patterns(config, "affinity", network),
    )
    return fit(job, context.folder, seed=config.seed, run=config.run)
