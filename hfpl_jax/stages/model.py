"""Keeps model.json beside the checkpoint of a training in step with the latest command:
the network once it is trained, how it looks at photographs and its threshold once the
stages that decide on them are done.

Each is written whenever its stage is found done, so that a file which was deleted, or
is of an earlier version, comes back without a training.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from hfpl_jax.build import build_backbone
from hfpl_jax.methods import METHODS
from hfpl_jax.model_file import (
    CAM,
    PRETRAINING,
    SEGMENTATION,
    Model,
    same_network,
    write_model,
)
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.section import own_fields, value_of
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics


def after_pretrain(context: Context) -> None:
    write_model(context.folder, _pretraining(context))


def after_train(context: Context) -> None:
    if not same_network(context.folder, model := _cam(context)):
        write_model(context.folder, model)


def after_metrics(context: Context) -> None:
    metrics = read_metrics(context.folder)
    chosen = ("threshold", "threshold_rule", "image_labels", "class_cut", "class_cut_f1")
    model = dataclasses.replace(_cam(context), **{name: metrics[name] for name in chosen})
    write_model(result_folder(context.workdir / "train"), model)


def after_segmentation(context: Context) -> None:
    if not same_network(context.folder, model := _segmentation(context)):
        write_model(context.folder, model)


def after_predictions(context: Context) -> None:
    write_model(result_folder(context.workdir / "segmentation"), _segmentation(context))


def _pretraining(context: Context) -> Model:
    inference = context.config.inference
    shared = {**_shared(context, inference), "class_names": ()}
    return Model(
        network=PRETRAINING, head={"name": "amdim", "settings": {}}, flip=inference.flip, **shared
    )


def _cam(context: Context) -> Model:
    config, inference = context.config, context.config.inference
    method = METHODS[config.method.name]
    return Model(
        network=CAM,
        head={"name": config.method.name, "settings": _settings(config, method)},
        flip=inference.flip,
        crf=config.refine.crf.to_dict(),
        instances=_instances(config.instances),
        **_shared(context, inference, config.model.suppression),
    )


def _segmentation(context: Context) -> Model:
    settings = context.config.segmentation
    return Model(
        network=SEGMENTATION,
        head={"name": settings.head, "settings": {}},
        flip=True,
        objective=settings.objective,
        crf=settings.crf.to_dict() if settings.crf.iterations else None,
        **_shared(context, settings),
    )


def _shared(context: Context, looks: ConfigDict, suppression: str = "") -> dict[str, Any]:
    config = context.config
    backbone = config.model.backbone
    return {
        "class_names": context.dataset.class_names,
        "backbone": {
            "name": backbone,
            "settings": _settings(config, BACKBONES[backbone].settings),
            "dtype": config.model.dtype,
            **({"suppression": suppression} if suppression else {}),
        },
        "output_stride": build_backbone(config).output_stride,
        "precision": config.model.precision,
        "scales": tuple(float(scale) for scale in looks.scales),
        "long_side": looks.long_side,
        "batch_size": config.run.cam_batch_size,
        "padded_shapes": config.run.padded_shapes,
    }


def _instances(settings: ConfigDict) -> dict[str, float] | None:
    if not settings.enabled:
        return None
    return {name: float(settings[name]) for name in ("peak_threshold", "peak_share")}


def _settings(config: ConfigDict, section: type) -> dict[str, Any]:
    """What the fields of the chosen backbone or method are set to."""
    own: Mapping = value_of(config, section.path)
    return {field.name: own[field.name] for field in own_fields(section)}
