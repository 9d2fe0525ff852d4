"""The stages of the pipeline in their order: what each reads, and so what decides its
result. A new stage is a file beside this one and an entry here; those that a refiner
adds stand between the CAMs and the pseudo-labels.
"""

from ml_collections import ConfigDict

from hfpl_jax.build import build_method
from hfpl_jax.methods import METHODS
from hfpl_jax.refine import REFINERS
from hfpl_jax.refine.refiner import DeviceRefiner, LearningRefiner, PretrainedRefiner
from hfpl_jax.section import value_of
from hfpl_jax.stages import (
    cams,
    data,
    evidence,
    export,
    features,
    instances,
    labels,
    learning,
    metrics,
    model,
    neighbours,
    predictions,
    pretrain,
    report,
    segmentation,
    train,
)
from hfpl_jax.stages.stage import Stage, always
from hfpl_jax.training.settings import stage_of


def _segments(config: ConfigDict) -> bool:
    return config.segmentation.epochs > 0


_SEGMENTS = {
    "wanted": _segments,
    "wanted_with": "config.segmentation.epochs above 0",
}


def _by_likeness(config: ConfigDict) -> bool:
    return build_method(config).by_likeness


def _finds_neighbours(config: ConfigDict) -> bool:
    return config.neighbours.enabled or _by_likeness(config)


def _on_features(config: ConfigDict) -> bool:
    return METHODS[config.method.name].frozen


def _kept_by(config: ConfigDict) -> tuple[str, ...]:
    """The settings of the method that decide which features it learns from."""
    method = METHODS[config.method.name]
    return tuple(f"{method.path}.{field}" for field in method.stored_fields)


def _pretrains(config: ConfigDict) -> bool:
    return config.pretrain.epochs > 0


def _pretrained(config: ConfigDict) -> tuple[str, ...]:
    """What takes the place of random weights."""
    return ("pretrain",) if _pretrains(config) else ()


def _started_from(config: ConfigDict, section: str) -> tuple[str, ...]:
    """The same, of a training."""
    return () if value_of(config, section).init_from else _pretrained(config)


def _read_by_training(config: ConfigDict) -> tuple[str, ...]:
    by_likeness = ("neighbours",) if _by_likeness(config) else ()
    features = ("features",) if _on_features(config) else ()
    return (*_started_from(config, "train"), *by_likeness, *features)


def _trained(config: ConfigDict) -> tuple[str, ...]:
    return (config.data.train_split,)


def _val(config: ConfigDict) -> tuple[str, ...]:
    return (config.data.val_split,)


def _labelled(config: ConfigDict) -> tuple[str, ...]:
    return (config.data.label_split or config.data.train_split,)


def _searched(config: ConfigDict) -> tuple[str, ...]:
    return tuple(filter(None, (*_trained(config), config.data.val_split)))


def _shown(config: ConfigDict) -> tuple[str, ...]:
    return (*_labelled(config), *(_val(config) if _segments(config) else ()))


def _with_cams(config: ConfigDict) -> tuple[str, ...]:
    return tuple(filter(None, (*_labelled(config), config.data.val_split)))


def _scored(config: ConfigDict) -> tuple[str, ...]:
    return tuple(filter(None, (*_with_cams(config), config.data.score_split)))


_OF_THE_CLASSIFIER = ("model.dropout", "model.frozen_batch_norm", "model.suppression")
"""What no other network reads of the section model."""


_TO_THE_CAMS = (
    Stage("data", data.run, reads=()),  # its fingerprints are the prepared dataset's own
    Stage(
        "pretrain",
        pretrain.run,
        reads=("data",),
        fields=("seed", "model", "pretrain"),
        but=_OF_THE_CLASSIFIER,
        unlabelled=lambda config: (config.pretrain.split or config.data.train_split,),
        training="pretrain",
        traced=always,
        wanted=_pretrains,
        wanted_with="config.pretrain.epochs above 0",
        after=model.after_pretrain,
    ),
    Stage(
        "neighbours",
        neighbours.run,
        reads=("data",),
        reads_too=_pretrained,
        fields=("model", "neighbours"),
        but=(*_OF_THE_CLASSIFIER, "model.dtype"),
        photographs=_searched,
        traced=always,
        wanted=_finds_neighbours,
        wanted_with="config.neighbours.enabled = True, or neighbours = 'sba' of a method",
    ),
    Stage(
        "features",
        features.run,
        reads=("data",),
        fields=("model",),
        fields_too=_kept_by,
        but=_OF_THE_CLASSIFIER,
        photographs=features.split_names,
        there=features.there,
        traced=always,
        wanted=_on_features,
        wanted_with="a method whose backbone is frozen, such as 'probe'",
    ),
    Stage(
        "train",
        train.run,
        reads=("data",),
        reads_too=_read_by_training,
        fields=("seed", "data.train_split", "model", "method", "hfpl", "train"),
        photographs=_trained,
        training="train",
        traced=always,
        after=model.after_train,
    ),
    Stage(
        "cams",
        cams.run,
        reads=("data", "train"),
        reads_too=lambda config: ("features",) if features.serve_cams(config) else (),
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
)


def _learners() -> dict[str, type[LearningRefiner]]:
    """The refiners by name that train a network."""
    return {name: each for name, each in REFINERS.items() if issubclass(each, LearningRefiner)}


def _evidence_fields(refiner: type[LearningRefiner]) -> tuple[str, ...]:
    return tuple(f"{refiner.path}.{field}" for field in refiner.evidence_fields)


def _added(name: str, refiner: type[LearningRefiner]) -> tuple[Stage, ...]:
    """The stages that a refiner adds."""

    def wanted(config: ConfigDict) -> bool:
        return config.refine.name == name

    condition = f"config.refine.name = {name!r}"
    training = refiner.training.path
    makes_evidence = Stage(
        refiner.evidence_stage,
        evidence.run,
        reads=("data", "cams", "metrics"),
        fields=("refine.name", *_evidence_fields(refiner)),
        masks=_with_cams,
        wanted=wanted,
        wanted_with=condition,
    )
    trains = Stage(
        stage_of(training),
        learning.run,
        reads=("data", refiner.evidence_stage),
        reads_too=lambda config: _started_from(config, training),
        fields=("seed", "model", training),
        but=(*_OF_THE_CLASSIFIER, *_evidence_fields(refiner)),
        photographs=_labelled,
        training=training,
        content_read=learning.content_read,
        traced=always,
        wanted=wanted,
        wanted_with=condition,
    )
    return (makes_evidence, trains) if refiner.makes_evidence() else (trains,)


def _looks_with_the_pretrained(config: ConfigDict) -> bool:
    return issubclass(REFINERS[config.refine.name], PretrainedRefiner)


def _labels() -> Stage:
    """Of every refiner."""
    trainings = tuple(each.training.path for each in _learners().values())
    return Stage(
        "labels",
        labels.run,
        reads=("data", "cams", "metrics", *map(stage_of, trainings)),
        fields=("refine",),
        reads_too=lambda config: _pretrained(config) if _looks_with_the_pretrained(config) else (),
        fields_too=lambda config: ("model",) if _looks_with_the_pretrained(config) else (),
        but=(*trainings, *_OF_THE_CLASSIFIER, "model.dtype"),
        masks=lambda config: _with_cams(config) if REFINERS[config.refine.name].scored else (),
        traced=lambda config: issubclass(REFINERS[config.refine.name], DeviceRefiner),
    )


_FROM_THE_LABELS = (
    Stage(
        "instances",
        instances.run,
        reads=("data", "train", "cams", "metrics", "labels"),
        fields=("instances",),
        masks=_with_cams,
        files=("instances.proposals",),
        wanted=lambda config: config.instances.enabled,
        wanted_with="config.instances.enabled = True",
        traced=always,
    ),
    Stage("export", export.run, reads=("data", "labels", "instances"), fields=("export",)),
    Stage(
        "segmentation",
        segmentation.run,
        reads=("export",),
        reads_too=lambda config: _started_from(config, "segmentation"),
        fields=("seed", "model", "segmentation"),
        but=(
            *_OF_THE_CLASSIFIER,
            "segmentation.scales",
            "segmentation.long_side",
            "segmentation.crf",
        ),
        training="segmentation",
        content_read=segmentation.content_read,
        content_of=segmentation.content_of,
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
            "segmentation.crf",
        ),
        photographs=_val,
        masks=_val,
        traced=always,
        after=model.after_predictions,
        **_SEGMENTS,
    ),
)


def _report() -> Stage:
    shown = (each.evidence_stage for each in _learners().values() if each.makes_evidence())
    return Stage(
        "report",
        report.run,
        reads=("data", "train", "cams", "metrics", *shown, "labels", "instances", "predictions"),
        fields=("report", "rounds"),
        masks=_shown,
    )


def all_stages() -> tuple[Stage, ...]:
    """Every stage that a configuration may have, with those of all refiners."""
    return (
        *_TO_THE_CAMS,
        *(stage for name, each in _learners().items() for stage in _added(name, each)),
        _labels(),
        *_FROM_THE_LABELS,
        _report(),
    )
