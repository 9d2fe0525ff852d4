"""Prepares the dataset once; later runs only check that the photographs are the
same.
"""

import pathlib

from ml_collections import ConfigDict

from hfpl_jax.data.content_hashes import ContentHashes
from hfpl_jax.data.dataset import Dataset
from hfpl_jax.data.prepare import prepare
from hfpl_jax.stages.context import Context


def run(context: Context) -> dict:
    prepared(context)
    return {}


def prepared(context: Context) -> Dataset:
    """The dataset in `config.data.directory`, or in the stage's folder."""
    return prepare(context.config.data, _directory(context.config, context.workdir))


def content_hashes(config: ConfigDict, workdir: pathlib.Path) -> ContentHashes:
    """The hashes of files that are kept beside the prepared data."""
    return ContentHashes(_directory(config, workdir))


def _directory(config: ConfigDict, workdir: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(config.data.directory or workdir / "data")
