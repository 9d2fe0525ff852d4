"""The stages of the pipeline in their order: what each reads, and so what decides its
result. A new stage is a file beside this one and an entry here.
"""

from ml_collections import ConfigDict

from hfpl_jax.stages import (
    affinity,
    cams,
    crf,
    data,
    export,
    labels,
    metrics,
    model,
    predictions,
    report,
    segmentation,
    train,
)
from hfpl_jax.stages.stage import Stage, always


def _refines(*methods: str) -> dict:
    return {
        "wanted": lambda config: config.refine.method in methods,
        "wanted_with": f"config.refine.method = {' or '.join(map(repr, methods))}",
    }


def _segments(config: ConfigDict) -> bool:
    return config.segmentation.epochs > 0


_SEGMENTS = {
    "wanted": _segments,
    "wanted_with": "config.segmentation.epochs above 0",
}


def _trained(config: ConfigDict) -> tuple[str, ...]:
    return (config.data.train_split,)


def _val(config: ConfigDict) -> tuple[str, ...]:
    return (config.data.val_split,)


def _labelled(config: ConfigDict) -> tuple[str, ...]:
    return (config.data.label_split or config.data.train_split,)


def _shown(config: ConfigDict) -> tuple[str, ...]:
    return (*_labelled(config), *(_val(config) if _segments(config) else ()))


def _with_cams(config: ConfigDict) -> tuple[str, ...]:
    return tuple(filter(None, (*_labelled(config), config.data.val_split)))


def _scored(config: ConfigDict) -> tuple[str, ...]:
    return tuple(filter(None, (*_with_cams(config), config.data.score_split)))


STAGES = (
    Stage("data", data.run, reads=()),  # its fingerprints are the prepared dataset's own
    Stage(
        "train",
        train.run,
        reads=("data",),
        fields=("seed", "data.train_split", "model", "method", "hfpl", "train"),
        photographs=_trained,
        traced=always,
        after=model.after_train,
    ),
    Stage(
        "cams",
        cams.run,
        reads=("data", "train"),
        fields=("data.label_split", "data.val_split", "inference"),
        photographs=_with_cams,
        traced=always,
        version=2,  # records hold probabilities
    ),
    Stage(
        "metrics",
        metrics.run,
        reads=("data", "cams"),
        fields=("data.score_split", "labels.threshold", "labels.default_threshold"),
        photographs=_scored,  # their names
        masks=_with_cams,
        after=model.after_metrics,
        version=3,  # chooses the class cut
    ),
    Stage(
        "crf",
        crf.run,
        reads=("data", "cams", "metrics"),
        fields=("refine.method", "refine.crf_*", "affinity.alphas"),
        masks=_with_cams,
        **_refines("crf", "random_walk"),
    ),
    Stage(
        "affinity",
        affinity.run,
        reads=("data", "crf"),
        fields=("seed", "model", "affinity"),
        but=("model.dropout", "affinity.alphas"),
        photographs=_labelled,
        content_read=affinity.content_read,
        traced=always,
        **_refines("random_walk"),
    ),
    Stage(
        "labels",
        labels.run,
        reads=("data", "cams", "metrics", "crf", "affinity"),
        fields=("refine.method", "refine.walk_*", "labels.ignore_band"),
        masks=lambda config: _with_cams(config) if config.refine.method else (),
        traced=lambda config: config.refine.method == "random_walk",
    ),
    Stage("export", export.run, reads=("data", "labels"), fields=("export",)),
    Stage(
        "segmentation",
        segmentation.run,
        reads=("export",),
        fields=("seed", "model", "segmentation"),
        but=(
            "model.dropout",
            "model.frozen_batch_norm",
            "segmentation.scales",
            "segmentation.long_side",
            "segmentation.crf_*",
        ),
        content_read=segmentation.content_read,
        traced=always,
        after=model.after_segmentation,
        **_SEGMENTS,
    ),
    Stage(
        "predictions",
        predictions.run,
        reads=("data", "segmentation"),
        fields=(
            "data.val_split",
            "segmentation.scales",
            "segmentation.long_side",
            "segmentation.crf_*",
            "refine.crf_algorithm",
        ),
        photographs=_val,
        masks=_val,
        traced=always,
        after=model.after_predictions,
        **_SEGMENTS,
    ),
    Stage(
        "report",
        report.run,
        reads=("data", "train", "cams", "metrics", "crf", "labels", "predictions"),
        fields=("report",),
        masks=_shown,
    ),
)
