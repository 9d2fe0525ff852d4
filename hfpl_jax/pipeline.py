"""The pipeline from photographs to pseudo-labels: runs the stages that are not done
yet.

Every stage owns a folder of the workdir. Its manifest.json holds a fingerprint of all
that decides its content: the config fields it reads, the photographs or masks, and the
fingerprints of the stages before it. A stage whose fingerprint is there as done is
skipped; one that was interrupted resumes; one whose fingerprint changed is done again,
and so is what follows. Trainings of earlier fingerprints are kept, and found again.
"""

import dataclasses
import json
import logging
import os
import pathlib
import time
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from hfpl_jax.errors import InputError
from hfpl_jax.fingerprint import content_of_parents, fingerprint_of, settings_of
from hfpl_jax.methods import METHODS
from hfpl_jax.runtime import distributed, workdir_lock
from hfpl_jax.runtime.manifest import (
    MANIFEST,
    make_room,
    read_manifest,
    want,
    write_manifest,
)
from hfpl_jax.runtime.observation import observed, summary
from hfpl_jax.runtime.progress import format_seconds
from hfpl_jax.runtime.provenance import made_by
from hfpl_jax.settings import check, check_dataset
from hfpl_jax.stages import data, features, train
from hfpl_jax.stages.context import Context, room
from hfpl_jax.stages.fields import check_profile, check_read
from hfpl_jax.stages.notices import notices_of
from hfpl_jax.stages.rounds import with_rounds
from hfpl_jax.stages.score_split import check_score_split
from hfpl_jax.stages.stage import Stage
from hfpl_jax.stages.table import all_stages
from hfpl_jax.start_checks import check_starts
from hfpl_jax.training.fit import describe

_LOG = logging.getLogger(__name__)


def stage_names() -> tuple[str, ...]:
    """Of all stages that a configuration may have, in their order."""
    return tuple(dict.fromkeys(stage.name for stage in all_stages()))


def stages_of(config: ConfigDict) -> list[Stage]:
    """The stages of a configuration, each reading those of the others that it has, with
    those of later rounds.
    """
    wanted = [stage for stage in all_stages() if stage.wanted(config)]
    names = {stage.name for stage in wanted}

    def with_reads(stage: Stage) -> Stage:
        reads = (*stage.reads, *stage.reads_too(config))
        return dataclasses.replace(stage, reads=tuple(name for name in reads if name in names))

    return with_rounds([with_reads(stage) for stage in wanted], config.rounds)


def _in_any_round(stages: Sequence[str]) -> set[str]:
    """The names of stages without their round's."""
    return {name.rpartition("/")[2] for name in stages}


def run(
    config: ConfigDict,
    workdir: str | os.PathLike,
    stages: Sequence[str] | None = None,
    *,
    recipe: ConfigDict | None = None,
) -> Context:
    """Runs the named stages, in their order, as far as they are not done; returns the
    dataset, and the notices of all stages that are done by then.

    Args:
      config: what to run.
      workdir: where; no other command may work there meanwhile.
      stages: which; None for all. Those of a later round are named with it, such as
        "round2/cams".
      recipe: the configuration as its file returns it; a field in which `config`
        differs has to be one that a stage reads.

    Raises:
      InputError: an unknown stage; a value that no stage can work with, or that none
        reads; a stage whose input is missing; a workdir in use; whatever the stages
        raise.
    """
    workdir, known = pathlib.Path(workdir).absolute(), stage_names()
    check(config, known if stages is None else _in_any_round(stages))
    later = [stage for stage in stages_of(config) if stage.round > 1]
    known = (*known, *(stage.name for stage in later))
    stages = known if stages is None else stages
    if unknown := set(stages) - set(known):
        raise InputError(
            f"Unknown stages {sorted(unknown)} in --stages. Known are {', '.join(known)}."
        )
    check_profile(config, (*all_stages(), *later))
    if recipe is not None:
        check_read(config, recipe, all_stages())
    if not set(stages) <= {"data"}:
        trainings = [stage for stage in stages_of(config) if stage.training]
        check_starts(config, workdir, trainings, stages, data.content_hashes(config, workdir))
    if not distributed.is_first():
        return _run(config, workdir, stages)
    with workdir_lock.held(workdir):
        return _run(config, workdir, stages)


def _run(config: ConfigDict, workdir: pathlib.Path, stages: Sequence[str]) -> Context:
    with distributed.first_before_others():  # prepares it, or says that it did not change
        dataset = data.prepared(Context(config, workdir, workdir / "data"))
    check_score_split(config.data, dataset)
    check_dataset(config, dataset, _in_any_round(stages))
    if set(stages) <= {"data"}:  # the files that later stages start from may be missing yet
        return Context(config, workdir, workdir, dataset)
    hashes = data.content_hashes(config, workdir)
    fingerprints = {"data": dataset.fingerprint}
    folders: dict[str, pathlib.Path] = {}
    notices: tuple[str, ...] = ()
    for stage in stages_of(config)[1:]:
        parents = fingerprints
        if stage.content_read:
            with distributed.first_before_others():
                own = room(workdir, stage.round)
                context = Context(config, own, own, dataset, round=stage.round)
                parents = content_of_parents(stage, context, fingerprints, folders)
        fingerprint = fingerprint_of(stage, config, dataset, parents, hashes)
        fingerprints[stage.name] = fingerprint
        if distributed.is_first():
            hashes.save()
        folder = folders[stage.name] = stage.folder(workdir, fingerprint)
        if stage.name in stages:
            with distributed.first_before_others():
                settings = settings_of(stage, config, hashes)
                manifest = _begin(stage, config, folders, fingerprints, settings)
        else:
            manifest = read_manifest(folder)
        if stage.training and (folder / MANIFEST).exists() and distributed.is_first():
            want(workdir, stage.name, fingerprint)
        own = room(workdir, stage.round)
        context = Context(config, own, folder, dataset, stage.reads, notices, stage.round)
        done = manifest.get("done") and manifest["fingerprint"] == fingerprint
        if done and stage.name in stages and not stage.there(context):
            _LOG.info("%s: what it has stored is not there any more; making it again.", stage.name)
            done = False
        if done:
            notices += notices_of(manifest, stage.round)
            if stage.name in stages:
                _LOG.info("%s: done already.", stage.name)
                if config.profile == stage.name:
                    _LOG.warning("Nothing is traced: the stage %s is done already.", stage.name)
        elif stage.name in stages:
            notices += notices_of({"facts": _do(stage, context, manifest)}, stage.round)
        if stage.after and (done or stage.name in stages) and distributed.is_first():
            stage.after(context)
    return Context(config, workdir, workdir, dataset, notices=notices)


def _do(stage: Stage, context: Context, manifest: Mapping) -> dict:
    """Runs a stage and writes its manifest; returns its facts."""
    _LOG.info("%s: started.", stage.name)
    started = time.monotonic()
    traced = context.config.profile == stage.name
    with observed(context.folder / "trace" if traced else None):
        facts = stage.run(context)
    seconds = time.monotonic() - started
    distributed.meet()
    if distributed.is_first():
        done = {"done": True, "made_by": made_by(), "seconds": round(seconds, 1)}
        write_manifest(context.folder, {**manifest, **done, "facts": facts})
    _LOG.info("%s: done in %s (%s).", stage.name, format_seconds(seconds), summary())
    return facts


def dry_run(
    config: ConfigDict, workdir: str | os.PathLike, *, recipe: ConfigDict | None = None
) -> str:
    """What the training of the classifier would take: prepares the data and compiles
    one step, trains nothing.
    """
    context = run(config, workdir, ["data"], recipe=recipe)
    text = describe(train.job(context, dry=True), seed=config.seed, run=config.run)
    if not METHODS[config.method.name].frozen:
        return text
    demand = features.demanded(context)
    return f"{text}\n{demand} To need less: {demand.cure}."


def _begin(
    stage: Stage,
    config: ConfigDict,
    folders: Mapping[str, pathlib.Path],
    fingerprints: Mapping[str, str],
    settings: str,
) -> dict:
    """The manifest of a stage's folder, which is made, or emptied of another
    configuration's result, where it has to be.
    """
    folder = folders[stage.name]
    manifest = read_manifest(folder)
    current = manifest.get("fingerprint") == fingerprints[stage.name]
    if current and manifest["done"]:
        return manifest
    _check_inputs(stage, folders, fingerprints)
    if current and manifest.get("emptied", True):
        return manifest
    if manifest and not current:
        _LOG.info("%s: the configuration, or a stage before, changed; doing it again.", stage.name)
    manifest = {
        "stage": stage.name,
        "fingerprint": fingerprints[stage.name],
        "settings": settings,
        "parents": {name: fingerprints[name] for name in stage.reads},
        "done": False,
        "made_by": made_by(),
        "config": json.loads(config.to_json_best_effort()),
    }
    make_room(folder, manifest)
    return manifest


def _check_inputs(
    stage: Stage, folders: Mapping[str, pathlib.Path], fingerprints: Mapping[str, str]
) -> None:
    for name in stage.reads:
        if name == "data":
            continue
        manifest = read_manifest(folders[name])
        if not manifest.get("done") or manifest["fingerprint"] != fingerprints[name]:
            raise InputError(
                f"The stage {stage.name} needs the result of {name}, which is missing, unfinished "
                "or of another configuration. "
                f"Add {name} to --stages."
            )
