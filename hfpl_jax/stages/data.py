"""Prepares the dataset once; later runs only check that the photographs are the same."""

import pathlib

from hfpl_jax.data.dataset import Dataset
from hfpl_jax.data.prepare import prepare
from hfpl_jax.stages.context import Context


def run(context: Context) -> dict:
    prepared(context)
    return {}


def prepared(context: Context) -> Dataset:
    """The dataset in `config.data.directory`, or in the stage's folder."""
    directory = context.config.data.directory
    return prepare(context.config.data, pathlib.Path(directory) if directory else context.folder)
