"""The manifest of a stage's folder, and where the folder lies.

A manifest says what made the folder and whether it is done: it is written first as not
done, and last as done. Trainings are kept by fingerprint, `train/<fingerprint>/`, so
that an earlier configuration finds its own again; `train/wanted.json` names the one of
the latest command. No folder is ever renamed.
"""

import json
import os
import pathlib
import re
import shutil
from typing import TypeGuard

from hfpl_jax.errors import InputError
from hfpl_jax.runtime import atomic
from hfpl_jax.runtime.stage_json import read_stage_json, unusable

MANIFEST = "manifest.json"
WANTED = "wanted.json"


def result_folder(folder: str | os.PathLike) -> pathlib.Path:
    """Where the result lies that a person names by its stage, such as
    `runs/mine/train`: of a training the one that the latest command wanted, of another
    stage the folder itself.

    Raises:
      InputError: the file that names the training is damaged.
    """
    folder = pathlib.Path(folder)
    wanted = folder / WANTED
    if not wanted.exists():
        return folder
    try:
        fingerprint = read_stage_json(wanted).get("fingerprint")
    except InputError:
        fingerprint = None
    if not _is_fingerprint(fingerprint):
        raise InputError(
            f"{wanted} is damaged: it names no training of this folder. Give the command of the "
            "run again, which writes it anew, or name one of the folders beside it."
        )
    return folder / fingerprint


def want(workdir: pathlib.Path, stage: str, fingerprint: str) -> None:
    """From now on `result_folder` of this stage is the training of this fingerprint."""
    content = json.dumps({"fingerprint": fingerprint}) + "\n"
    path = workdir / stage / WANTED
    if not path.exists() or path.read_text(errors="replace") != content:
        atomic.atomic_write(path, content)


def read_manifest(folder: str | os.PathLike) -> dict:
    """The manifest of a stage's result, see `result_folder`; {} if the stage never ran.

    Raises:
      InputError: it is damaged.
    """
    path = result_folder(folder) / MANIFEST
    if not path.exists():
        return {}
    manifest = read_stage_json(path)
    if not (
        _is_fingerprint(manifest.get("fingerprint"))
        and isinstance(manifest.get("done"), bool)
        and all(isinstance(manifest.get(name, {}), dict) for name in ("facts", "read_by"))
    ):
        raise unusable(path, "it says neither what it is of nor whether it is done")
    return manifest


def write_manifest(folder: pathlib.Path, content: dict) -> None:
    atomic.atomic_write(folder / MANIFEST, json.dumps(content, indent=2) + "\n")


def make_room(folder: pathlib.Path, manifest: dict) -> None:
    """Empties a folder for what `manifest` announces; a kill in between leaves a
    manifest that says so, and the next call continues.

    Raises:
      InputError: the folder holds files, but none of this program's.
    """
    before = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    others = before - {MANIFEST, MANIFEST + atomic.TEMPORARY}
    if others and MANIFEST not in before:
        raise InputError(
            f"The folder {folder} holds files, but no {MANIFEST} of this program. Move it "
            "away, or choose another --workdir."
        )
    if others:
        write_manifest(folder, {**manifest, "emptied": False})
        for name in others:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink()
    write_manifest(folder, manifest)


def _is_fingerprint(value: object) -> TypeGuard[str]:
    """It becomes part of a folder's name."""
    return isinstance(value, str) and re.fullmatch(r"\w+", value, re.ASCII) is not None
