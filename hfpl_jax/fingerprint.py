"""The fingerprint of a stage: a hash of exactly what decides its result."""

import hashlib
import json
import pathlib
from collections.abc import Mapping

from ml_collections import ConfigDict

from hfpl_jax.data.content_hashes import ABSENT, ContentHashes
from hfpl_jax.data.dataset import Dataset
from hfpl_jax.runtime.manifest import read_manifest, write_manifest
from hfpl_jax.section import value_of
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.stage import Stage
from hfpl_jax.training.start import content_of_start


def fingerprint_of(
    stage: Stage,
    config: ConfigDict,
    dataset: Dataset,
    parents: Mapping[str, str],
    hashes: ContentHashes,
) -> str:
    """Of its settings, the photographs and masks, and the stages before.

    Args:
      stage: with the stages that it reads in this configuration.
      config: the configuration.
      dataset: the prepared one.
      parents: fingerprints of the stages before, or what it reads of them.
      hashes: of files.
    """
    content = {
        **_settings(stage, config, hashes),
        "data": dataset.digest(
            stage.photographs(config), stage.masks(config), stage.unlabelled(config)
        ),
        "parents": {name: parents[name] for name in stage.reads if name != "data"},
    }
    return _hash(content)


def settings_of(stage: Stage, config: ConfigDict, hashes: ContentHashes) -> str:
    """A hash of the part of its fingerprint that is known before the data is prepared:
    the fields that it reads, files by their content.
    """
    return _hash(_settings(stage, config, hashes))


def _settings(stage: Stage, config: ConfigDict, hashes: ContentHashes) -> dict:
    fields = {path: value_of(config, path) for path in stage.fields_read(config)}
    fields |= content_of_start(fields, stage.training, hashes)
    for path in stage.files:
        content = hashes.of(pathlib.Path(fields[path]).expanduser())
        if content != ABSENT:
            fields[path] = content
    return {"stage": stage.name, "version": stage.version, "config": fields}


def _hash(content: dict) -> str:
    described = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def content_of_parents(
    stage: Stage,
    context: Context,
    fingerprints: Mapping[str, str],
    folders: Mapping[str, pathlib.Path],
) -> dict[str, str]:
    """The fingerprints of the stages that a training reads, or what it reads of those
    that are done; kept in the manifests in their `folders`, since that takes reading
    all of it.
    """
    contents = dict(fingerprints)
    whole = ("data", *stage.reads_too(context.config))
    for name in (name for name in stage.reads if name not in whole):
        manifest = read_manifest(folders[name])
        if not manifest.get("done") or manifest["fingerprint"] != fingerprints[name]:
            continue
        read_by = manifest.get("read_by", {})
        key = " ".join(filter(None, (stage.name, stage.content_of(context.config))))
        if key not in read_by:
            read_by |= {key: stage.content_read(context)}
            write_manifest(folders[name], {**manifest, "read_by": read_by})
        contents[name] = read_by[key]
    return contents
