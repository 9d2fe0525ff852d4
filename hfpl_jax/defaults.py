"""The configuration that every recipe in configs/ starts from, and the switches of all
recipes. The fields themselves are the dataclasses in hfpl_jax/settings/.

Everything but `run` and `profile` decides the result, so a changed field re-runs the
stages that read it and those after them. `run` says how the work is done: changing it
re-runs nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.section import defaults, value_of
from hfpl_jax.settings.whole import Settings


def default_config() -> ConfigDict:
    """CAM with both losses on a ResNet-50 at output stride 16."""
    return ConfigDict(defaults(Settings))


DATASETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "voc": {
            "data.name": "voc_seg",
            "data.train_split": "trainaug",
            "data.score_split": "train",  # whose masks are VOC's own
        },
        "coco": {
            "data.name": "coco_seg",
            "data.options": {"year": "2017", "mask_rule": "largest_first"},
            "hfpl.fsl_weight": 0.2,  # as published for COCO
        },
        "folder": {
            "data.name": "folder",
            "data.options": {"labels": "labels.csv", "masks": "", "unannotated": ""},
            "data.val_split": "",  # until labels.csv has one
        },
        "scenes": {
            "data.name": "scenes",
            "data.options": {"train_size": 400, "val_size": 100, "unlabelled_size": 0, "size": 128},
            "model.backbone": "resnet18",
            "model.resnet.width": 32,
            "model.resnet.output_stride": 8,
            "model.weights": "random",
            "train.epochs": 16,
            "train.batch_size": 16,
            "train.crop_size": 96,
            "train.resize_long": (96, 128),
            "train.jitter": False,  # there is no other light than the painter's
            "train.clip": 3.0,  # just above the longest gradient of plain CAM, the first one's 2.9
            "train.learning_rate": 0.05,
            "train.sgd.momentum": 0.9,
            "train.multipliers": (),
            "pretrain.batch_size": 64,
            "pretrain.crop_size": 64,
            "pretrain.learning_rate": 0.001,
            "refine.random_walk.steps": 16,  # the grid has 16 by 16 cells
            "refine.random_walk.affinity.epochs": 4,
            "refine.random_walk.affinity.crop_size": 96,
            "refine.random_walk.affinity.clip": 3.0,
            "refine.random_walk.affinity.learning_rate": 0.05,
            "refine.random_walk.affinity.sgd.momentum": 0.9,
            "refine.random_walk.affinity.multipliers": (),
            "refine.refinement_learning.refinement.epochs": 8,
            "refine.refinement_learning.refinement.crop_size": 96,
            "refine.refinement_learning.refinement.learning_rate": 0.001,
            "refine.regions.mining.epochs": 4,
            "refine.regions.mining.crop_size": 96,
            "refine.regions.mining.clip": 3.0,
            "refine.regions.mining.learning_rate": 0.02,
            "refine.regions.mining.sgd.momentum": 0.9,
            "refine.regions.mining.multipliers": (),
            "segmentation.batch_size": 8,
            "segmentation.crop_size": 96,
            "segmentation.clip": 3.0,
            "segmentation.learning_rate": 0.03,
            "segmentation.sgd.momentum": 0.9,
            "segmentation.multipliers": (),
            "segmentation.batch_norm_momentum": 0.1,  # from random weights in few steps
            "segmentation.scale_range": (0.75, 1.25),
            "segmentation.scales": (0.75, 1.0),
            "segmentation.cycle.width": 16,
            "segmentation.cycle.blocks": 3,
            "inference.scales": (0.75, 1.0),
            "run.cam_batch_size": 16,
            "run.padded_shapes": 2,
        },
    }
)
"""What the switch `data=NAME` changes, in every recipe that has it. Generated scenes have
a small network, trained from random weights, and a few minutes on two cores.
"""

SMALL: Mapping[str, Any] = MappingProxyType(
    {
        "data.label_split": "train",  # of VOC the official list alone
        "hfpl.isl_weight": 0.05,  # chosen on train: experiments/notes/voc_small.md
        "train.epochs": 4,
        "train.batch_size": 4,  # what few photographs lack for rare classes is steps
        "train.crop_size": 192,
        "train.resize_long": (256, 448),
        "train.sgd.momentum": 0.9,
        "train.learning_rate": 0.005,
        "train.multipliers": ((r"^(?!backbone/)", 20.0),),
        "train.freeze_stages": 3,
        "inference.scales": (1.0,),
        "inference.long_side": 448,
        "inference.flip": False,
        "run.cam_batch_size": 16,
        "run.log_every": 50,
    }
)
"""What the switch `small` changes: a training on some hundred photographs that two cores
finish in minutes, from which two methods can be compared.
"""

SMALL_FINAL: Mapping[str, Any] = MappingProxyType(
    {
        "segmentation.epochs": 8,
        # Four times what a long training needs, which diverges in the first steps if long
        # gradients are not shortened
        "segmentation.learning_rate": 0.004,
        "segmentation.clip": 5.0,
        "segmentation.batch_size": 4,
        "segmentation.crop_size": 160,
        "segmentation.scale_range": (0.4, 0.7),
        "segmentation.freeze_stages": 3,
        "segmentation.scales": (1.0,),
        "segmentation.long_side": 320,
    }
)
"""What `small` changes as well in recipes that train a final network."""

DEBUG: Mapping[str, Any] = MappingProxyType(
    {
        "train.epochs": 1,
        "train.batch_size": 8,
        "train.crop_size": 128,
        "train.resize_long": (128, 160),
        "pretrain.batch_size": 16,
        "inference.scales": (1.0,),
        "inference.long_side": 160,
    }
)
"""What the switch `debug` changes for photographs: all stages in little time, for a
look at whether they run.
"""

DEBUG_FINAL: Mapping[str, Any] = MappingProxyType(
    {
        "segmentation.epochs": 1,
        "segmentation.batch_size": 8,
        "segmentation.crop_size": 128,
        "segmentation.scales": (1.0,),
        "segmentation.long_side": 160,
    }
)
"""What `debug` changes as well in recipes that train a final network."""

_NUMBERS = MappingProxyType({"isl": "hfpl.isl_weight", "fsl": "hfpl.fsl_weight", "seed": "seed"})
"""Switches with a number of the user's -> the field that it becomes."""


def apply_switches(
    config: ConfigDict,
    switches: str | None,
    presets: Mapping[str, Mapping[str, Any]],
    data: str = "",
) -> ConfigDict:
    """Applies what follows the colon in `--config=FILE:data=coco,small,isl=0,seed=1`.

    In whatever order they are typed, the dataset comes first, then the presets in the
    order of their table, then the numbers.

    Args:
      config: the recipe.
      switches: as they were typed.
      presets: what the recipe's other switches change, by dotted name. One that changes
        more beside another has both as its name: "published,data=coco".
      data: the dataset where the switch `data` names none; "" for a recipe without that
        switch, which has a dataset of its own.

    Raises:
      InputError: an unknown switch, one that is there twice, or a value that is no
        number.
    """
    chosen = [switch for switch in (switches or "").split(",") if switch]
    datasets = [f"data={name}" for name in DATASETS] if data else []
    single = [name for name in presets if "," not in name and name not in datasets]
    for switch in chosen:
        if switch not in (*datasets, *single) and switch.partition("=")[0] not in _NUMBERS:
            raise _unknown(switch, [*datasets, *single])
    names = [switch.partition("=")[0] for switch in chosen]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InputError(f"The switch {twice!r} stands twice behind the recipe. Give it once.")
    if {"data=scenes", "small"} <= set(chosen):
        raise InputError(
            "The switch 'small' is for photographs; generated scenes have a small network and few "
            "steps of their own. Leave it out beside data=scenes."
        )
    if data and "data" not in names:
        chosen.append(f"data={data}")
    changes = {f"data={name}": fields for name, fields in DATASETS.items() if data}
    for name, fields in (*changes.items(), *presets.items()):
        if set(name.split(",")) <= set(chosen):
            config.update_from_flattened_dict(dict(fields))
    for name, field in _NUMBERS.items():
        for switch in (switch for switch in chosen if switch.partition("=")[0] == name):
            config.update_from_flattened_dict({field: _number(switch, value_of(config, field))})
    return config


def _number(switch: str, default: float) -> float:
    name, _, text = switch.partition("=")
    try:
        return type(default)(text)
    except ValueError as error:
        raise InputError(
            f"The switch {switch!r} needs a number, such as {name}={default}."
        ) from error


def _unknown(switch: str, words: list[str]) -> InputError:
    """`words`: the switches of the recipe but for those with a number."""
    numbers = [f"{name}=" for name in _NUMBERS]
    hint = did_you_mean(switch, [*words, *numbers]) or did_you_mean(f"data={switch}", words)
    known = ", ".join([*words, *(f"{name}NUMBER" for name in numbers)])
    return InputError(
        f"Unknown switch {switch!r} behind the recipe{in_brackets(hint)}. It has {known}."
    )
