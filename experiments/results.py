"""What a study found and what made it: results/NAME.json, one format for all of them.

    {"config": the recipe, "config_hash": of its fields, "commit": of the library,
     "machine": ..., "date": the day, or the first and the last,
     "runs": {row of the table: {seed: {"figures": {name: value},
                                        "seconds": {part: value}, ...}}}}

A fact that nobody recorded when the runs were made is "not recorded". The runs alone
may stand in NAME.json where NAME.facts.json beside it holds the facts.
"""

import hashlib
import json
import pathlib
import textwrap
from collections.abc import Iterable, Mapping

from ml_collections import ConfigDict

from hfpl_jax import pipeline
from hfpl_jax.errors import InputError
from hfpl_jax.stages.fields import leaves, matches, value_of

FACTS = ("config", "config_hash", "commit", "machine", "date")
NOT_RECORDED = "not recorded"

_PLACES = ("data.root", "data.directory")
_FILES = ("model.weights", "*.init_from")


def config_hash(config: ConfigDict) -> str:
    """Of the fields that decide the figures: not of the places where the data lie, and
    of the files' names in place of their paths.
    """
    read = {path for stage in pipeline.stages_of(config) for path in stage.fields_read(config)}
    read |= {path for path in leaves(config) if matches(path, ["data"])} - set(_PLACES)
    fields = {path: value_of(config, path) for path in read}
    fields |= {path: pathlib.PurePath(fields[path]).name for path in read if matches(path, _FILES)}
    described = json.dumps(fields, sort_keys=True, default=str)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def facts(
    config: str, recipes: Iterable[ConfigDict], manifests: Iterable[Mapping]
) -> dict[str, str]:
    """Of runs of one or several recipes.

    Args:
      config: the argument of --config; of several recipes what their names have in
        common, with the rest in braces.
      recipes: their configurations, with the fields that were typed.
      manifests: of all stages of the runs: an earlier call may have made some of them,
        with another commit or on another day.
    """
    made = [manifest.get("made_by", {}) for manifest in manifests]
    return {
        "config": config,
        "config_hash": ", ".join(dict.fromkeys(map(config_hash, recipes))),
        "commit": ", ".join(sorted({each.get("commit", NOT_RECORDED) for each in made})),
        "machine": "; ".join(sorted({_machine(each) for each in made})),
        "date": span(each.get("date", NOT_RECORDED) for each in made),
    }


def _machine(made_by: Mapping[str, str]) -> str:
    words = {"machine": "{}", "devices": "{}", "jax": "JAX {}"}
    parts = [text.format(made_by[name]) for name, text in words.items() if name in made_by]
    return ", ".join(parts) or NOT_RECORDED


def span(dates: Iterable[str]) -> str:
    """The day, or the first and the last."""
    days = set(dates)
    if len(days) < 2 or NOT_RECORDED in days:
        return ", ".join(sorted(days))
    return f"{min(days)} to {max(days)}"


def read(path: pathlib.Path) -> dict:
    """A study with its facts.

    Raises:
      InputError: the file, or that of its facts, is missing or no JSON; a fact or the
        figures of a run are not there.
    """
    study = read_object(path)
    beside = path.with_suffix(".facts.json")
    if beside.exists():
        study = {**read_object(beside), "runs": study}
    if missing := [name for name in (*FACTS, "runs") if name not in study]:
        raise InputError(
            f"{path} lacks {', '.join(missing)}. Write what is known there, or beside its runs in "
            f'{beside.name}, and "{NOT_RECORDED}" for what is not.'
        )
    if not isinstance(runs := study["runs"], dict) or not all(
        isinstance(by_seed, dict) for by_seed in runs.values()
    ):
        raise InputError(
            f"{path}: the runs are not given by row and seed. Take the file as its experiment "
            "wrote it."
        )
    for row, by_seed in runs.items():
        for seed, run in by_seed.items():
            if not isinstance(run, dict) or not run.keys() >= {"figures", "seconds"}:
                raise InputError(
                    f'{path}: the run {row}, {seed} has no "figures" or no "seconds". Take the '
                    "file as its experiment wrote it."
                )
    return study


def wrapped(sentence: str) -> str:
    """For a page."""
    return textwrap.fill(sentence, 88, break_long_words=False, break_on_hyphens=False)


def read_object(path: pathlib.Path) -> dict:
    """What a file of JSON holds.

    Raises:
      InputError: the file is missing or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is not readable ({error}). Take the file as its experiment wrote it."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no object. Take the file as its experiment wrote it.")
    return content
