"""The road from photographs to pseudo-labels: the ordered stages, what each reads, and
running what is not done yet.

Every stage owns one folder of the workdir. Its manifest.json holds a fingerprint of all
that decides its content: the config fields it reads and the fingerprints of the stages
before it. A stage whose fingerprint stands there as done is skipped; one that was
interrupted goes on; one whose fingerprint changed is done again, and so is what
follows.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from hfpl_jax import atomic, distributed
from hfpl_jax.data.dataset import Dataset
from hfpl_jax.errors import InputError
from hfpl_jax.observation import observed, summary
from hfpl_jax.progress import format_seconds
from hfpl_jax.settings import check, check_dataset
from hfpl_jax.stages import (
    affinity,
    cams,
    crf,
    data,
    export,
    labels,
    metrics,
    predictions,
    report,
    segmentation,
    train,
)
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.notices import notices_of
from hfpl_jax.stages.score_split import check_score_split
from hfpl_jax.stages.stage_json import read_stage_json, unusable
from hfpl_jax.training.fit import describe

_LOG = logging.getLogger(__name__)

MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Stage:
    """A box of the pipeline.

    Attributes:
      name: also of its folder in the workdir.
      run: does the work in the context's folder, going on where an interrupted run
        stopped; returns facts for the manifest.
      reads: stages whose folders it reads.
      fields: the config fields that decide its result.
      wanted: whether a configuration has this stage at all.
    """

    name: str
    run: Callable[[Context], dict]
    reads: tuple[str, ...]
    fields: tuple[str, ...]
    wanted: Callable[[ConfigDict], bool] = lambda config: True


def _refines(*methods: str) -> Callable[[ConfigDict], bool]:
    return lambda config: config.refine.method in methods


def _segments(config: ConfigDict) -> bool:
    return config.segmentation.epochs > 0


_CRF = (
    "refine.method",
    *(f"refine.crf_{field}" for field in ("algorithm", "iterations", "sxy", "srgb", "weight")),
)
_WALK = ("refine.walk_alpha", "refine.walk_beta", "refine.walk_steps")

STAGES = (
    Stage("data", data.run, reads=(), fields=()),  # its fingerprint is the prepared dataset's own
    Stage(
        "train",
        train.run,
        reads=("data",),
        fields=("seed", "data.train_split", "model", "method", "hfpl", "train"),
    ),
    Stage(
        "cams",
        cams.run,
        reads=("data", "train"),
        fields=("data.label_split", "data.val_split", "inference"),
    ),
    Stage(
        "metrics",
        metrics.run,
        reads=("data", "cams"),
        fields=("data.score_split", "labels.threshold", "labels.default_threshold"),
    ),
    Stage(
        "crf",
        crf.run,
        ("data", "cams", "metrics"),
        (*_CRF, "affinity.alphas"),
        _refines("crf", "random_walk"),
    ),
    Stage(
        "affinity",
        affinity.run,
        ("data", "crf"),
        ("seed", "model", "affinity"),
        _refines("random_walk"),
    ),
    Stage(
        "labels",
        labels.run,
        ("data", "cams", "metrics", "crf", "affinity"),
        (*_WALK, "refine.method", "labels.ignore_band"),
    ),
    Stage("export", export.run, reads=("data", "labels"), fields=("export",)),
    Stage(
        "segmentation", segmentation.run, ("export",), ("seed", "model", "segmentation"), _segments
    ),
    Stage(
        "predictions",
        predictions.run,
        ("data", "segmentation"),
        ("data.val_split", "refine.crf_algorithm"),
        _segments,
    ),
    Stage(
        "report",
        report.run,
        ("data", "train", "cams", "metrics", "crf", "labels", "predictions"),
        ("report",),
    ),
)
STAGE_NAMES = tuple(stage.name for stage in STAGES)
_TRAININGS = ("train", "affinity", "segmentation")


def road(config: ConfigDict) -> list[Stage]:
    """The stages of a configuration, each reading those of the others that it has."""
    wanted = [stage for stage in STAGES if stage.wanted(config)]
    names = {stage.name for stage in wanted}
    return [
        dataclasses.replace(stage, reads=tuple(name for name in stage.reads if name in names))
        for stage in wanted
    ]


def _field(config: ConfigDict, path: str):
    for name in path.split("."):
        config = config[name]
    return config.to_dict() if isinstance(config, ConfigDict) else config


def _fingerprint(stage: Stage, config: ConfigDict, parents: dict[str, str]) -> str:
    content = {
        "stage": stage.name,
        "config": {path: _field(config, path) for path in stage.fields},
        "parents": parents,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[
        :16
    ]


def read_manifest(folder: pathlib.Path) -> dict:
    """A stage's manifest, or {} if it never ran."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    manifest = read_stage_json(path)
    fingerprint = manifest.get("fingerprint")
    if (
        not isinstance(fingerprint, str)
        or not re.fullmatch(r"\w+", fingerprint, re.ASCII)
        or not isinstance(manifest.get("done"), bool)
        or not isinstance(manifest.get("facts", {}), dict)
    ):
        raise unusable(
            path, "it says neither what it is of nor whether it is done"
        )  # the fingerprint becomes part of a folder's name
    return manifest


def _make_room(stage: Stage, folder: pathlib.Path, manifest: dict) -> None:
    """Removes the result of another configuration; a trained network is set aside
    instead, as it cost the most.

    Raises:
      InputError: the folder holds files, but none of this program's.
    """
    # A folder goes in two steps: were a kill to leave records without their manifest, they
    # would pass for new ones.
    removed = folder.with_name(f"{folder.name}{atomic.TEMPORARY}")
    shutil.rmtree(removed, ignore_errors=True)
    if not manifest:
        if folder.is_dir() and any(
            path.name != MANIFEST + atomic.TEMPORARY for path in folder.iterdir()
        ):
            raise InputError(
                f"The folder {folder} holds files, but no {MANIFEST} of this program. Move it "
                "away, or choose another --workdir."
            )
    elif stage.name in _TRAININGS:
        aside = folder.with_name(f"{folder.name}-{manifest['fingerprint']}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        _LOG.info(
            "%s: the configuration changed; the earlier result is kept in %s.", stage.name, aside
        )
    else:
        folder.rename(removed)
        shutil.rmtree(removed)
        _LOG.info("%s: the configuration, or a stage before, changed; doing it again.", stage.name)


def _write_manifest(folder: pathlib.Path, content: dict) -> None:
    atomic.atomic_write(folder / MANIFEST, json.dumps(content, indent=2) + "\n")


def run(
    config: ConfigDict, workdir: str | os.PathLike, stages: Sequence[str] = STAGE_NAMES
) -> Context:
    """Runs the named stages, in their order, as far as they are not done; returns the
    dataset, and the notices of all stages that are done by then.

    Raises:
      InputError: an unknown stage; a value that no stage can work with; a stage whose
        input is missing; whatever the stages raise.
    """
    if config.profile and config.profile not in STAGE_NAMES:
        raise InputError(
            f"config.profile = {config.profile!r} is no stage. Choose the one to trace from "
            f"{', '.join(STAGE_NAMES)}."
        )
    unknown = set(stages) - set(STAGE_NAMES)
    if unknown:
        raise InputError(
            f"Unknown stages {sorted(unknown)} in --stages. Known are {', '.join(STAGE_NAMES)}."
        )
    workdir = pathlib.Path(workdir).absolute()
    check(config, workdir, stages)
    fingerprints: dict[str, str] = {}
    dataset: Dataset | None = None
    notices: tuple[str, ...] = ()
    for stage in road(config):
        folder = workdir / stage.name
        context = Context(config, workdir, folder, dataset, stage.reads, notices)
        if stage.name == "data":  # always looked at: it says whether the photographs changed
            with distributed.first_before_others():
                dataset = data.prepared(context)
            check_score_split(config.data, dataset)
            check_dataset(config, dataset, stages)
            fingerprints["data"] = dataset.fingerprint
            continue
        fingerprints[stage.name] = _fingerprint(
            stage, config, {name: fingerprints[name] for name in stage.reads}
        )
        if stage.name not in stages:
            manifest = read_manifest(folder)
            if manifest.get("done") and manifest["fingerprint"] == fingerprints[stage.name]:
                notices += notices_of(manifest)
            continue
        with distributed.first_before_others():
            manifest = _begin(stage, config, folder, fingerprints)
        if manifest["done"]:
            notices += notices_of(manifest)
            _LOG.info("%s: done already.", stage.name)
            continue
        _LOG.info("%s: started.", stage.name)
        started = time.monotonic()
        with observed(folder / "trace" if config.profile == stage.name else None):
            facts = stage.run(context)
        seconds = time.monotonic() - started
        notices += notices_of({"facts": facts})
        distributed.meet()
        if distributed.is_first():
            _write_manifest(
                folder, {**manifest, "done": True, "seconds": round(seconds, 1), "facts": facts}
            )
        _LOG.info("%s: done in %s (%s).", stage.name, format_seconds(seconds), summary())
    return Context(config, workdir, workdir, dataset, notices=notices)


def dry_run(config: ConfigDict, workdir: str | os.PathLike) -> str:
    """What the training of the classifier would take: prepares the data and compiles
    one step, trains nothing.
    """
    context = run(config, workdir, ["data"])
    return describe(train.job(context), seed=config.seed, run=config.run)


def _begin(
    stage: Stage, config: ConfigDict, folder: pathlib.Path, fingerprints: dict[str, str]
) -> dict:
    """The manifest of a stage's folder, which is made, or emptied of another
    configuration's result, where it has to be.
    """
    manifest = read_manifest(folder)
    current = manifest.get("fingerprint") == fingerprints[stage.name]
    if current and manifest["done"]:
        return manifest
    _check_inputs(stage, folder.parent, fingerprints)
    if current:
        return manifest
    _make_room(stage, folder, manifest)
    manifest = {
        "stage": stage.name,
        "fingerprint": fingerprints[stage.name],
        "parents": {name: fingerprints[name] for name in stage.reads},
        "done": False,
        "config": json.loads(config.to_json_best_effort()),
    }
    _write_manifest(folder, manifest)
    return manifest


def _check_inputs(stage: Stage, workdir: pathlib.Path, fingerprints: dict[str, str]) -> None:
    for name in stage.reads:
        manifest = (
            read_manifest(workdir / name)
            if name != "data"
            else {"done": True, "fingerprint": fingerprints["data"]}
        )
        if not manifest.get("done") or manifest["fingerprint"] != fingerprints[name]:
            raise InputError(
                f"The stage {stage.name} needs the result of {name}, which is missing, unfinished "
                "or of another configuration. "
                f"Add {name} to --stages."
            )
