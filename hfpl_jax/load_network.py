"""Finds a finished training and makes its network again, from its folder alone."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.build import trained_backbone, trained_variables
from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.inference.cams import cam_mesh, cam_predictor, summed_views
from hfpl_jax.inference.multi_scale import MultiScale
from hfpl_jax.inference.peak_predictor import PeakPredictor
from hfpl_jax.inference.predictor import Predictor
from hfpl_jax.inference.segmentation import segmentation_predictor
from hfpl_jax.methods import METHODS
from hfpl_jax.model_file import CAM, FILE, PRETRAINING, SEGMENTATION, Model, read_model
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.backbone import Backbone
from hfpl_jax.models.segmentation_network import HEADS, SegmentationNetwork
from hfpl_jax.precision import with_products
from hfpl_jax.runtime import console
from hfpl_jax.runtime.manifest import read_manifest, result_folder
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.section import Section, section_of
from hfpl_jax.trained import TrainedClassifier, TrainedNetwork, TrainedSegmentation
from hfpl_jax.training.objectives import OBJECTIVES

_STAGES = {SEGMENTATION: "segmentation", CAM: "train"}
"""Kind of network -> the stage that trains it; the first that is there is taken."""


def load(
    run: str | os.PathLike, network: str | None = None, *, batch_size: int | None = None
) -> TrainedNetwork:
    """The network of a finished training.

    Args:
      run: the workdir of a run, or the folder of one training.
      network: "segmentation" for the final network, "cam" for the classifier that makes
        CAMs; None for the final network where there is one.
      batch_size: photographs in a batch, rounded up to what divides into the devices;
        None for that of the run.

    Raises:
      InputError: no such training is there or finished, or it is of another version.
    """
    folder = find_training(run, network)
    with console.without_remarks():
        return _loaded(folder, read_model(folder), batch_size)


def _loaded(folder: pathlib.Path, model: Model, batch_size: int | None) -> TrainedNetwork:
    if model.network == PRETRAINING:
        raise InputError(
            f"{folder} is of a pretraining, whose network knows no classes. Name the workdir of "
            "a run with a classifier."
        )
    backbone, classes = _backbone(model, folder), len(model.class_names)
    settings = model.multi_scale(model.batch_size if batch_size is None else batch_size)
    if model.network == SEGMENTATION:
        settings = _fitting(settings, settings.views)
        mesh = local_mesh(settings.batch_size, "batch_size", views=settings.views)
        head = model.head["name"]
        _known(HEADS, head, "head", folder)
        objective = _known(OBJECTIVES, model.objective, "objective", folder)()
        module = objective.network(
            lambda: SegmentationNetwork(
                _backbone(model, folder), classes, head=head, frozen_batch_norm=True
            )
        )
        variables = trained_variables(module, folder, mesh)
        predictor = segmentation_predictor(module, variables, settings, mesh)
        return TrainedSegmentation(folder, model, _as_trained(predictor, model))
    _, method = _chosen(METHODS, model.head, "method", folder)
    settings = _fitting(settings, summed_views(method, settings))
    mesh = cam_mesh(method, settings, "batch_size")
    network = method.network(backbone, classes, frozen_batch_norm=True, dropout=0.0)
    variables = trained_variables(network, folder, mesh)
    predictor = cam_predictor(network, method, variables, settings, mesh)
    peaks = _peaks(model, network, variables, settings) if model.instances else None
    return TrainedClassifier(folder, model, _as_trained(predictor, model), method, peaks)


def _as_trained(predictor: Predictor, model: Model) -> Predictor:
    """With products as precise as those of the run."""
    logits = with_products(predictor.logits, model.precision)
    return dataclasses.replace(predictor, logits=logits)


def _peaks(
    model: Model, network: nn.Module, variables: dict, settings: MultiScale
) -> PeakPredictor:
    """As the stage of instances looks at photographs."""
    assert model.instances
    one = _fitting(dataclasses.replace(settings, scales=(1.0,), flip=False), 1)
    return PeakPredictor(
        network,
        variables,
        one,
        local_mesh(one.batch_size, "batch_size"),
        least=model.instances["peak_threshold"],
        share=model.instances["peak_share"],
        precision=model.precision,
    )


def find_training(run: str | os.PathLike, network: str | None = None) -> pathlib.Path:
    """The folder of the finished training that `load` takes; raises what it raises."""
    run = pathlib.Path(run)
    if network is not None and network not in (*_STAGES, PRETRAINING):
        hint = in_brackets(did_you_mean(network, _STAGES))
        raise InputError(f"There is no network {network!r}{hint}; choose one of segmentation, cam.")
    if not run.is_dir():
        raise InputError(f"There is no folder {run}. Name the workdir of a finished run.")
    if (run / FILE).exists():
        kind = read_model(run).network
        folders = {kind: run} if network in (None, kind) else {}
    else:
        stages = {PRETRAINING: "pretrain"} if network == PRETRAINING else _STAGES
        folders = {kind: run / stage for kind, stage in stages.items() if network in (None, kind)}
    for folder in folders.values():
        if read_manifest(folder).get("done"):
            return result_folder(folder)
    which = {None: "", CAM: " of a classifier", SEGMENTATION: " of a final network"}.get(
        network, " without labels"
    )
    raise InputError(
        f"{run} holds no finished training{which}. Name the workdir of a finished run, or give the "
        "command of this run again, which goes on from where it stopped."
    )


def load_trained_backbone(
    run: str | os.PathLike,
) -> tuple[pathlib.Path, Model, Backbone, dict]:
    """The backbone of a finished training, with its folder, its model.json and the
    backbone's variables: of a run's classifier or, where it has none, of its pretraining;
    or of the training whose folder is named.

    Raises:
      InputError: no such training is there or finished, or it is of another version.
    """
    run, place = pathlib.Path(run), result_folder(run)
    if (place / FILE).exists():
        folder = find_training(place)
    else:
        pretrained = read_manifest(run / "pretrain").get("done")
        trained = read_manifest(run / "train").get("done")
        folder = find_training(run, PRETRAINING if pretrained and not trained else CAM)
    with console.without_remarks():
        model = read_model(folder)
        backbone = _backbone(model, folder)
        return folder, model, backbone, trained_backbone(backbone, folder)


def _backbone(model: Model, folder: pathlib.Path) -> Backbone:
    entry, own = _chosen(BACKBONES, model.backbone, "backbone", folder)
    backbone = entry.network(
        own,
        dtype=jnp.dtype(model.backbone["dtype"]),
        suppression=model.backbone.get("suppression", ""),
    )
    if backbone.output_stride != model.output_stride:
        raise InputError(
            f"{folder / FILE} is of a network of output stride {model.output_stride}, but its "
            f"backbone has {backbone.output_stride} in this version. Use the version that made it."
        )
    return backbone


def _known(table: Mapping[str, Any], name: str, what: str, folder: pathlib.Path) -> Any:
    """What the table has under a name of model.json."""
    if name not in table:
        raise InputError(
            f"{folder / FILE} names the {what} {name!r}, which this program does not have: it has "
            f"{', '.join(table)}. Add it to the table of {what}s first, or use the version that "
            "made the file."
        )
    return table[name]


def _chosen(
    table: Mapping[str, Any], said: Mapping[str, Any], what: str, folder: pathlib.Path
) -> tuple[Any, Section]:
    """What the table has under the name, and its settings."""
    entry = _known(table, said["name"], what, folder)
    fields = {
        field: tuple(value) if isinstance(value, list) else value
        for field, value in said["settings"].items()
    }
    try:
        return entry, section_of(entry).of(fields)
    except InputError as error:
        raise InputError(
            f"{folder / FILE} has settings of the {what} {said['name']!r} that this version does "
            f"not take ({error}). Use the version that made it, or give the command of the run "
            "again with this one."
        ) from error


def _fitting(settings: MultiScale, views: int) -> MultiScale:
    """With the next larger batch that divides into this process's devices."""
    devices = jax.local_device_count()
    unit = devices // math.gcd(devices, views)
    return dataclasses.replace(settings, batch_size=-(-settings.batch_size // unit) * unit)
