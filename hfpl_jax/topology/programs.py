"""The programs of a configuration's stages, traced for a pod at their largest shapes."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from hfpl_jax.build import (
    backbone_shapes,
    build_final_networks,
    build_method,
    build_network,
    build_refiner,
    variable_shapes,
)
from hfpl_jax.data.stored_features import cells
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.cams import cam_predictor, stored_cam_predictor, summed_views
from hfpl_jax.inference.multi_scale import MultiScale
from hfpl_jax.inference.predictor import Predictor
from hfpl_jax.inference.segmentation import segmentation_predictor
from hfpl_jax.pipeline import stages_of
from hfpl_jax.refine.crf import CrfSection
from hfpl_jax.refine.crf_buckets import bucket_mean_field, bucket_of
from hfpl_jax.refine.on_device import refining
from hfpl_jax.refine.refiner import DeviceRefiner, LearningRefiner, Padded
from hfpl_jax.refine.refiner import Photograph as WithCams
from hfpl_jax.runtime.sharding import local_mesh, replicated
from hfpl_jax.settings.training import FinalCrf
from hfpl_jax.stages import features, learning, segmentation, train
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.labels import network_of
from hfpl_jax.topology.pods import Pod
from hfpl_jax.topology.unread import OF_A_PHOTOGRAPH, Unread
from hfpl_jax.training.fit import Fit, traced_step

_GRAIN = 32
"""Of padded shapes, in pixels."""


class Built(NamedTuple):
    """A program before it is compiled.

    traced: as JAX has traced it. devices: that it runs on together. times: how often each
    of them runs it in the whole run, at this size. what: it does, in words. unit: the
    smallest batch of its stage, of which all others are multiples.
    """

    traced: jax.stages.Traced
    devices: int
    times: float
    what: str
    unit: int = 1


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of a stage.

    Attributes:
      stage: its name.
      batch: the field with the batch size that its memory grows with; "" for none.
      build: traces it for a configuration and a pod.
    """

    stage: str
    batch: str
    build: Callable[[ConfigDict, Pod], Built]


def programs_of(config: ConfigDict, stages: Collection[str]) -> list[Program]:
    """Those of the named stages, in their order. What runs on the host has none, and what
    later rounds run again is there once.
    """
    found = []
    for stage in stages_of(config):
        if stage.name not in stages or stage.round > 1:
            continue
        if stage.training:
            batch = f"{stage.training}.batch_size"
            found.append(Program(stage.name, batch, functools.partial(_training, stage.name)))
        if stage.name == "cams":
            found.append(Program(stage.name, "run.cam_batch_size", _cams))
        if stage.name == "labels" and isinstance(build_refiner(config), DeviceRefiner):
            found.append(Program(stage.name, "run.cam_batch_size", _refining))
        if stage.name == "predictions":
            found.append(Program(stage.name, "run.cam_batch_size", _predictions))
        if stage.name in _exact_crfs(config):
            found.append(Program(stage.name, "", functools.partial(_crf, stage.name)))
    return found


def _context(config: ConfigDict) -> Context:
    nowhere = pathlib.Path()
    return Context(config, nowhere, nowhere, Unread.of(config.data))


def _given_cams(config: ConfigDict) -> float:
    """Photographs that get CAMs."""
    context = _context(config)
    return sum(len(context.dataset.split(name)) for name in set(context.roles.values()))


def _training(stage: str, config: ConfigDict, pod: Pod) -> Built:
    job = _job(stage, _context(config))
    step = traced_step(job, run=config.run, devices=pod.devices)
    size, crop = job.settings.batch_size, job.settings.crop_size
    what = (
        f"a step of {size} images of {crop}x{crop}, {size // step.mesh.size} a device; "
        f"{step.trained + step.frozen:,} parameters, {step.trained:,} of them trained"
    )
    return Built(step.program, step.mesh.size, job.steps, what, step.mesh.size * job.rows)


def _job(stage: str, context: Context) -> Fit:
    if stage == "train":
        return train.job(context, dry=True)
    if stage == "segmentation":
        split = context.dataset.split(context.label_split)
        return segmentation.job(context, context.dataset.class_names, split, split)
    return learning.job(context, _Evidence(context))


class _Evidence(Sequence[tuple[dict, Any]]):
    """(record, photograph) of black photographs, for the network of a refiner. They show no
    class, so that no CRF has anything to do.
    """

    def __init__(self, context: Context):
        refiner = build_refiner(context.config)
        assert isinstance(refiner, LearningRefiner)
        self._refiner, self._classes = refiner, len(context.dataset.class_names)
        self._split = context.dataset.split(context.label_split)

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[dict, Any]:
        example = self._split[index]
        size, none = (example.height, example.width), np.zeros(0, np.int64)
        cams, probabilities = np.zeros((*size, 0), np.float32), np.zeros(self._classes, np.float32)
        name = example.file_name
        record = CamRecord(index, name, none, none, cams, probabilities).encode()
        if self._refiner.makes_evidence():
            photograph = WithCams(example.pixels(), cams, none, 0.5)
            _, learnt = self._refiner.evidence(photograph, learnt=True)
            record = {**record, **learnt}
        return record, example


def _padded(config: ConfigDict, long_side: int | None) -> int:
    """The side of the largest padded shape, a square, at scale 1."""
    return -(-(long_side or Unread.of(config.data).side) // _GRAIN) * _GRAIN


def _cams(config: ConfigDict, pod: Pod) -> Built:
    method, inference = build_method(config), config.inference
    looks = MultiScale.of(inference, flip=inference.flip, batch_size=config.run.cam_batch_size)
    mesh = local_mesh(
        looks.batch_size,
        "config.run.cam_batch_size",
        views=summed_views(method, looks),
        devices=pod.of_a_host,
    )
    network = build_network(config, len(Unread.of(config.data).class_names))
    shapes = variable_shapes(network)
    if not features.serve_cams(config):
        predictor = cam_predictor(network, method, shapes, looks, mesh)
        return _looking(predictor, config, pod, _given_cams(config))
    predictor = stored_cam_predictor(network, method, shapes, looks, mesh, {})
    side, kept = _padded(config, looks.long_side), method.kept(network.backbone)
    stored = {
        name: jax.ShapeDtypeStruct(
            (looks.batch_size, *cells((side, side), network.backbone.strides[name]), width),
            jnp.float16,
        )
        for name, width in kept.kept_widths(network.backbone).items()
    }
    return _looking(predictor, config, pod, _given_cams(config), stored)


def _predictions(config: ConfigDict, pod: Pod) -> Built:
    settings, size = config.segmentation, config.run.cam_batch_size
    looks = MultiScale.of(settings, flip=True, batch_size=size)
    mesh = local_mesh(size, "config.run.cam_batch_size", views=2, devices=pod.of_a_host)
    network = build_final_networks(config, len(Unread.of(config.data).class_names))
    predictor = segmentation_predictor(network, variable_shapes(network), looks, mesh)
    count = len(_context(config).dataset.split(config.data.val_split))
    return _looking(predictor, config, pod, count)


def _looking(
    predictor: Predictor, config: ConfigDict, pod: Pod, photographs: float, seen: Any = None
) -> Built:
    """A batch of photographs at the largest scale; in place of their images, what else is
    `seen` of them.
    """
    looks = predictor.settings
    largest = max(looks.scales)
    side = int(np.ceil(_padded(config, looks.long_side) * largest))
    images = looks.views * looks.batch_size
    if seen is None:
        seen = jax.ShapeDtypeStruct((images, side, side, 3), jnp.uint8)
    sizes = jax.ShapeDtypeStruct((images, 2), jnp.int32)
    traced = predictor.compiled.trace(predictor.variables, seen, sizes)
    devices = predictor.mesh.size
    of_largest = sum((scale / largest) ** 2 for scale in looks.scales)
    times = photographs / _hosts(pod) / looks.batch_size * of_largest
    what = (
        f"{looks.batch_size} photographs{', mirrored too,' if looks.flip else ''} at "
        f"{side}x{side}, {images / devices:g} images a device of one host"
    )
    return Built(traced, devices, times, what, devices // math.gcd(devices, looks.views))


def _hosts(pod: Pod) -> float:
    return len(pod.devices) / len(pod.of_a_host)


def _refining(config: ConfigDict, pod: Pod) -> Built:
    refiner, size = build_refiner(config), config.run.cam_batch_size
    assert isinstance(refiner, DeviceRefiner)
    unread = Unread.of(config.data)
    mesh = local_mesh(size, "config.run.cam_batch_size", devices=pod.of_a_host)
    network = network_of(config, refiner, len(unread.class_names))
    cell = network.backbone.output_stride if network else 1
    side = -(-_padded(config, None) // cell) * cell
    classes = min(len(unread.class_names), OF_A_PHOTOGRAPH)
    shape = jax.ShapeDtypeStruct
    batch = Padded(
        images=shape((size, side, side, 3), jnp.uint8),
        sizes=shape((size, 2), jnp.int32),
        scores=shape((size, side // cell, side // cell, 1 + classes), jnp.float32),
        classes=shape((size, classes), jnp.int32),
    )
    variables: Any = {}
    if isinstance(refiner, LearningRefiner):
        variables = variable_shapes(network)
    elif network:
        found = backbone_shapes(network.backbone)
        variables = {name: {"backbone": arrays} for name, arrays in found.items()}
    traced = refining(refiner, network, mesh).trace(variables, batch)
    times = _given_cams(config) / _hosts(pod) / size
    what = f"{config.refine.name} of {size} photographs of {side}x{side}, {classes} classes each"
    return Built(traced, mesh.size, times, what, mesh.size)


def _exact_crfs(config: ConfigDict) -> dict[str, tuple[CrfSection, int, int]]:
    """Of the stages with a CRF on the device: it, how many maps of a photograph it is
    handed at once, and their labels.
    """
    classes = len(Unread.of(config.data).class_names)
    few = 1 + min(classes, OF_A_PHOTOGRAPH)
    refiner = build_refiner(config)
    found: dict[str, tuple[CrfSection, int, int]] = {}
    if isinstance(refiner, CrfSection):
        found["labels"] = refiner, 1, few
    if isinstance(refiner, LearningRefiner) and hasattr(refiner, "crf"):
        found[refiner.evidence_stage] = refiner.crf, 3, few
    found["predictions"] = FinalCrf.of(config.segmentation.crf), 1, 1 + classes
    return {
        stage: crf
        for stage, crf in found.items()
        if crf[0].algorithm == "exact" and crf[0].iterations
    }


def _crf(stage: str, config: ConfigDict, pod: Pod) -> Built:
    crf, maps, labels = _exact_crfs(config)[stage]
    side, count = Unread.of(config.data).side, _given_cams(config)
    if stage == "predictions":
        count = len(_context(config).dataset.split(config.data.val_split))
    everywhere = replicated(local_mesh(1, "", devices=pod.of_a_host[:1]))
    bucket = bucket_of(side, side, labels)
    shape = functools.partial(jax.ShapeDtypeStruct, sharding=everywhere)
    square = (maps, bucket.side, bucket.side)
    traced = bucket_mean_field.trace(
        shape((*square, 3), jnp.uint8),
        shape((*square, bucket.labels), jnp.float32),
        shape(square, jnp.bool_),
        shape((), jnp.int32),
        settings=crf.settings,
        pixels=bucket.pixels,
    )
    what = f"an exact CRF of {maps} maps of {side}x{side}, {labels} labels, on one device"
    return Built(traced, 1, count / _hosts(pod), what)
