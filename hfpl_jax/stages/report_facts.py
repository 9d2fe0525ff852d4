"""What to know about a run, in words: the table "The run" of the report."""

import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from hfpl_jax.build import (
    build_backbone,
    build_final_objective,
    build_method,
    build_refiner,
)
from hfpl_jax.methods import METHODS
from hfpl_jax.methods.pooling import MEAN
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.weights.read import RANDOM
from hfpl_jax.section import own_fields, value_of
from hfpl_jax.settings.instances import OWN, Instances
from hfpl_jax.settings.training import FinalCrf
from hfpl_jax.training.objectives.final import LABELLED, UNLABELLED
from hfpl_jax.training.objectives.pixel_losses import LOSSES

_HEADS = {"deeplab_v1": "DeepLab v1", "deeplab_v2": "DeepLab v2", "ocr": "OCR"}


def facts(
    config: ConfigDict,
    *,
    dataset: str,
    label_split: str,
    metrics: Mapping,
    learnt: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Name -> what is said of it, in the order to show.

    Args:
      config: of the run.
      dataset: its name.
      label_split: the split that has pseudo-labels.
      metrics: of `read_metrics`.
      learnt: what the final network's training says of its photographs.
    """
    threshold = f"{metrics['threshold']:.2f}: {metrics['threshold_rule']}"
    said = {
        "Dataset": f"{dataset}, pseudo-labels for {label_split}",
        "Method": _method(config),
        "Network": _network(config),
        **_stored(config),
        "Importance sampling loss": _importance_sampling(config),
        "Feature similarity loss": _feature_similarity(config),
        "Training": _training(config, config.train),
        "CAMs": f"{metrics['image_labels']}, {_views(config.inference, config.inference.flip)}",
        "Background threshold": threshold,
        "Pseudo-labels": build_refiner(config).said(),
    }
    if config.instances.enabled:
        said["Instances"] = _instances(Instances.of(config.instances))
    if config.segmentation.epochs:
        head, backbone = _HEADS[config.segmentation.head], _backbone(config)
        settings = config.segmentation
        loss = LOSSES[settings.loss].of(settings[settings.loss]).said()
        training = _training(config, settings) + (f", {loss}" if loss else "")
        training += _semi_supervised(config, learnt or {})
        crf = FinalCrf.of(settings.crf)
        said["Final network"] = (
            f"{head} on {backbone}, {training}; {_views(settings, True)}, {crf.said()}"
        )
    if config.rounds > 1:
        said["Rounds"] = str(config.rounds)
    return said


def _instances(settings: Instances) -> str:
    proposals = (
        "components and superpixels of the pseudo-labels"
        if settings.proposals == OWN
        else f"proposals of {pathlib.PurePath(settings.proposals).name}"
    )
    least = f"above a logit of {settings.peak_threshold:g}"
    share = f" and {settings.peak_share:g} of the highest" if settings.peak_share else ""
    return f"{proposals}, peaks {least}{share}"


def _backbone(config: ConfigDict) -> str:
    """Its name and settings, as the recipe calls them."""
    name, section = config.model.backbone, BACKBONES[config.model.backbone].settings
    own = value_of(config, section.path)
    settings = [f"{field.name} {own[field.name]}" for field in own_fields(section)]
    return f"{name} ({', '.join(settings)})" if settings else name


def _method(config: ConfigDict) -> str:
    method = METHODS[config.method.name]
    pooling = value_of(config, method.path).pooling
    return method.title if pooling == MEAN else f"{method.title}, logits pooled by {pooling}"


def _network(config: ConfigDict) -> str:
    weights = config.model.weights
    origin = "random weights" if weights == RANDOM else pathlib.PurePath(weights).name
    origin = config.train.init_from or origin
    cut = f", suppression {config.model.suppression}" if config.model.suppression else ""
    return f"{_backbone(config)}{cut}, from {origin}"


def _stored(config: ConfigDict) -> dict[str, str]:
    """The features that a method with a frozen backbone learns from."""
    method = build_method(config)
    if not method.frozen:
        return {}
    kept = method.kept(build_backbone(config))
    projected = f", projected to {kept.channels} channels" if kept.channels else ""
    layers = ", ".join(kept.layers)
    return {"Stored features": f"{layers} of a long side of {kept.long_side}{projected}"}


def _importance_sampling(config: ConfigDict) -> str:
    hfpl = config.hfpl
    if not hfpl.isl_weight:
        return "none"
    return f"weight {hfpl.isl_weight:g}, {hfpl.num_samples} samples"


def _feature_similarity(config: ConfigDict) -> str:
    hfpl = config.hfpl
    if not hfpl.fsl_weight:
        return "none"
    window = f", window {hfpl.window}" if hfpl.window else ""
    reach = f"sigma {hfpl.sigma:g}" if hfpl.sigma else "no spatial weight"
    return f"weight {hfpl.fsl_weight:g}, {reach}, mu {hfpl.mu:g}{window}"


def _training(config: ConfigDict, settings: ConfigDict) -> str:
    epochs = "1 epoch" if settings.epochs == 1 else f"{settings.epochs} epochs"
    return f"{epochs}, batch {settings.batch_size}, crop {settings.crop_size}, seed {config.seed}"


def _semi_supervised(config: ConfigDict, learnt: Mapping[str, int]) -> str:
    """How the final network learns, if not of all pseudo-labels alike."""
    if not (said := build_final_objective(config).said()):
        return ""
    counts = [f"{learnt[kind]} {kind}" for kind in (LABELLED, UNLABELLED) if kind in learnt]
    photographs = f" ({' and '.join(counts)} photographs)" if counts else ""
    return f", {said}{photographs}"


def _views(settings: ConfigDict, flip: bool) -> str:
    scales = ", ".join(f"{scale:g}" for scale in settings.scales)
    plural = "s" if len(settings.scales) > 1 else ""
    long_side = f" of a long side of {settings.long_side}" if settings.long_side else ""
    return f"scale{plural} {scales}{long_side}{', mirrored too' if flip else ''}"
