"""What is looked at before the first photograph is read, and once the dataset is there,
so that a slip costs no training.
"""

import pathlib
from collections.abc import Collection

from ml_collections import ConfigDict

from hfpl_jax.data.dataset import Dataset
from hfpl_jax.errors import InputError
from hfpl_jax.export import check_exportable
from hfpl_jax.refine.refiner import DeviceRefiner
from hfpl_jax.runtime.manifest import read_manifest
from hfpl_jax.runtime.sharding import data_mesh, local_mesh
from hfpl_jax.settings.whole import Settings
from hfpl_jax.training.checkpoint import has_checkpoints
from hfpl_jax.training.class_names import check_class_names


def check(config: ConfigDict, stages: Collection[str]) -> None:
    """Makes all settings; looks at the devices, and reads the proposals in a file.

    Args:
      config: as the recipe and the command left it.
      stages: names of those to run; what only others need is not asked for.

    Raises:
      InputError: a value that no stage can work with, a batch that does not divide into
        the devices; a file that holds no proposals.
    """
    settings = Settings.of(config)
    if settings.method.own.frozen and settings.run.features:
        _check_no_stage(settings.run.features)
    for training in settings.trainings:
        if training.stage in stages:
            rows = settings.method.own.rows if training.path == "train" else 1
            data_mesh(training.batch_size, f"config.{training.path}.batch_size", rows=rows)
    if settings.instances.enabled and "instances" in stages:
        settings.instances.given()
    for views in _views(settings, stages):
        local_mesh(settings.run.cam_batch_size, "config.run.cam_batch_size", views=views)


def check_dataset(config: ConfigDict, dataset: Dataset, stages: Collection[str]) -> None:
    """What can be said once the classes and the names of the photographs are known.

    Raises:
      InputError: names that the export cannot hold; proposals of other photographs; a
        run to start from that has other classes.
    """
    settings = Settings.of(config)
    split = settings.data.label_split or settings.data.train_split
    if "export" in stages:
        check_exportable(
            settings.export.format,
            split=split,
            class_names=dataset.class_names,
            file_names=(entry.file_name for entry in dataset.split(split).entries()),
        )
    given = settings.instances.enabled and "instances" in stages and settings.instances.given()
    if given:
        splits = list(filter(None, dict.fromkeys((split, settings.data.val_split))))
        given.check(
            {
                entry.file_name: (entry.height, entry.width)
                for name in splits
                for entry in dataset.split(name).entries()
            },
            splits,
        )
    for training in settings.trainings:
        there = training.init_from and has_checkpoints(training.init_from)
        if training.stage in stages and training.has_classes and there:
            check_class_names(training.init_from, dataset.class_names, training.path)


def _check_no_stage(features: str) -> None:
    """Shared features lie in no stage's folder, which is emptied without asking those
    that share them.
    """
    folder = pathlib.Path(features).expanduser().absolute()
    for place in (folder, *folder.parents):
        try:
            of_stage = "stage" in read_manifest(place)
        except InputError:  # of another program
            continue
        if of_stage:
            raise InputError(
                f"config.run.features = {features!r} lies in {place}, the folder of a stage, "
                "which is emptied when that is done again. Name a folder outside it."
            )


def _views(settings: Settings, stages: Collection[str]) -> list[int]:
    """Images a photograph, of every stage that shares its batches among devices."""
    mirrored = settings.inference.flip and not settings.method.own.fuses_flips
    views = [2 if mirrored else 1] if "cams" in stages else []
    if settings.method.own.frozen and "features" in stages:
        views.append(1)
    if settings.finds_neighbours and "neighbours" in stages:
        views.append(1)
    if isinstance(settings.refine.own, DeviceRefiner) and "labels" in stages:
        views.append(1)
    if settings.instances.enabled and "instances" in stages:
        views.append(1)
    if settings.segmentation.epochs and "predictions" in stages:
        views.append(2)
    return views
