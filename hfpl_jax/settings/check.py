"""What is looked at before the first photograph is read, and once the dataset is there,
so that a slip costs no training.
"""

import functools
import logging
import pathlib
from collections.abc import Collection

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from hfpl_jax.build import frozen_patterns, make_network, starting_image
from hfpl_jax.data.dataset import Dataset
from hfpl_jax.errors import InputError
from hfpl_jax.export import check_exportable
from hfpl_jax.models.pretrained import RANDOM, find_weights
from hfpl_jax.settings.training import Training
from hfpl_jax.settings.whole import Settings
from hfpl_jax.training.checkpoint import has_checkpoints
from hfpl_jax.training.class_names import check_class_names
from hfpl_jax.training.mesh import data_mesh, local_mesh
from hfpl_jax.training.optimizer import check_freeze, flatten

_LOG = logging.getLogger(__name__)


def check(config: ConfigDict, workdir: pathlib.Path, stages: Collection[str]) -> None:
    """Makes all settings, and looks at the files, the devices and the networks they name.

    Args:
      config: as the recipe and the command left it.
      workdir: trainings that have begun there need no file to start from.
      stages: names of those to run; what only others need is not asked for.

    Raises:
      InputError: a value that no stage can work with, a missing file, a batch that does
        not divide into the devices, a pattern that matches no parameter.
    """
    settings = Settings.of(config)
    if settings.model.weights == RANDOM and settings.model.frozen_batch_norm:
        _LOG.info("config.model.weights is %r, so nothing is frozen.", RANDOM)
    trainings = [training for training in settings.trainings if training.path in stages]
    for training in trainings:
        if not has_checkpoints(workdir / training.path):
            _check_start(settings, training)
        data_mesh(training.batch_size, f"config.{training.path}.batch_size")
        if patterns := frozen_patterns(config, training.path):
            paths = _parameter_paths(
                make_network(config, training.path, num_classes=1), settings.model.output_stride
            )
            check_freeze(paths, patterns, training.path)
    for views in _views(settings, stages):
        local_mesh(settings.run.cam_batch_size, "config.run.cam_batch_size", views=views)


def check_dataset(config: ConfigDict, dataset: Dataset, stages: Collection[str]) -> None:
    """What can be said once the classes and the names of the photographs are known.

    Raises:
      InputError: names that the export cannot hold; a run to start from that has other
        classes.
    """
    settings = Settings.of(config)
    if "export" in stages:
        split = settings.data.label_split or settings.data.train_split
        check_exportable(
            settings.export.format,
            split=split,
            class_names=dataset.class_names,
            file_names=(example.file_name for example in dataset.split(split)),
        )
    for training in settings.trainings:
        if training.path in stages and training.init_from and training.path != "affinity":
            check_class_names(training.init_from, dataset.class_names, training.path)


def _check_start(settings: Settings, training: Training) -> None:
    if not training.init_from:
        if settings.model.weights != RANDOM:
            find_weights(settings.model.weights)
    elif not has_checkpoints(training.init_from):
        raise InputError(
            f"config.{training.path}.init_from = {training.init_from!r} holds no checkpoints. Name "
            f"the folder {training.path} of a finished run, such as runs/first/{training.path}."
        )


def _views(settings: Settings, stages: Collection[str]) -> list[int]:
    """Images a photograph, of every stage that shares config.run.cam_batch_size among devices."""
    views = [2 if settings.inference.flip else 1] if "cams" in stages else []
    if settings.refine.method == "random_walk" and "labels" in stages:
        views.append(1)
    if settings.segmentation.epochs and "predictions" in stages:
        views.append(2)
    return views


@functools.cache
def _parameter_paths(network: nn.Module, output_stride: int) -> tuple[str, ...]:
    """Of a network that is never made: its shapes say them."""
    variables = jax.eval_shape(network.init, jax.random.key(0), starting_image(output_stride))
    return tuple(flatten(variables["params"]))
