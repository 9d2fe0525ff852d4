"""What a training starts from, or a search with the pretrained backbone, as its
fingerprint holds it: the content of files, not their place.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from hfpl_jax.data.content_hashes import ABSENT, ContentHashes
from hfpl_jax.errors import InputError
from hfpl_jax.models.weights.hub import local_file
from hfpl_jax.models.weights.read import RANDOM, absent
from hfpl_jax.runtime.manifest import read_manifest
from hfpl_jax.training.settings import stage_of


def content_of_start(
    fields: Mapping[str, Any], section: str, hashes: ContentHashes
) -> dict[str, str]:
    """In place of the paths among `fields`: the hash of the weight file and the
    fingerprint of the run to start from. A file that is missing counts as what it was
    when it was last read, so that a training resumes without it.

    Raises:
      InputError: a file or a run that was never seen.
    """
    contents = {}
    weights = fields.get("model.weights")
    if weights and weights != RANDOM:
        contents["model.weights"] = _weights(local_file(weights), hashes)
    init_from = fields.get(f"{section}.init_from")
    if init_from:
        contents[f"{section}.init_from"] = _run(init_from, section, hashes)
    return contents


def _weights(path: pathlib.Path, hashes: ContentHashes) -> str:
    found = hashes.of(path)
    if found == ABSENT:
        found = hashes.last_seen(path)
    if found == ABSENT:
        raise absent(path)
    return found


def _run(folder: str | os.PathLike, section: str, hashes: ContentHashes) -> str:
    manifest = read_manifest(folder)
    if manifest.get("done"):
        hashes.note(folder, manifest["fingerprint"])
        return manifest["fingerprint"]
    found = hashes.last_seen(folder)
    if manifest or found == ABSENT:
        raise _unfinished(folder, section)
    return found


def check_finished(folder: str | os.PathLike, section: str) -> None:
    """Raises InputError unless `folder` holds a finished training, from which that of a
    configuration's section shall start.
    """
    if not read_manifest(folder).get("done"):
        raise _unfinished(folder, section)


def _unfinished(folder: str | os.PathLike, section: str) -> InputError:
    return InputError(
        f"config.{section}.init_from = {os.fspath(folder)!r} holds no finished training. Name "
        f"the folder {stage_of(section)} of a finished run, such as runs/first/{stage_of(section)}."
    )
