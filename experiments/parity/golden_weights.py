"""Weights that a name and a shape determine: with them the published networks' numbers
were recorded, and ours are compared.
"""

import json
import os
import zlib
from collections.abc import Sequence

import numpy as np


def golden_weights(names: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every array of a state dict, by `golden_array`, from a JSON file {name: shape};
    the counters of training batches are left out.
    """
    with open(names, encoding="utf-8") as file:
        shapes = json.load(file)
    return {
        name: golden_array(name, shape)
        for name, shape in shapes.items()
        if not name.endswith("num_batches_tracked")
    }


def golden_array(name: str, shape: Sequence[int]) -> np.ndarray:
    """Float32.

    With r = RandomState(crc32(name)):
      running_var and the weight of a batch normalisation: 0.5 + uniform [0, 1)
      running_mean and every bias: 0.1 * normal
      every other weight: normal * sqrt(2 / fan_in)
    """
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("running_var") or ("bn" in name and name.endswith(".weight")):
        array = 0.5 + random.random_sample(shape)
    elif name.endswith(("running_mean", ".bias")):
        array = 0.1 * random.standard_normal(shape)
    else:
        array = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return array.astype(np.float32)


def vit_weights(names: str | os.PathLike) -> dict[str, np.ndarray]:
    """The same for vision transformers and the OCR head, by the rule of their numbers:
    what every one-dimensional weight is to them, a normalisation's was above; tokens and
    positions are 0.5 * normal.
    """
    with open(names, encoding="utf-8") as file:
        shapes = json.load(file)
    return {name: vit_array(name, shape) for name, shape in shapes.items()}


def vit_array(name: str, shape: Sequence[int]) -> np.ndarray:
    random, leaf = np.random.RandomState(zlib.crc32(name.encode())), name.rpartition(".")[2]
    if leaf == "running_var" or (leaf == "weight" and len(shape) == 1):
        array = 0.5 + random.random_sample(shape)
    elif leaf in ("bias", "running_mean"):
        array = 0.1 * random.standard_normal(shape)
    elif leaf in ("cls_token", "dist_token") or leaf.startswith("pos_embed"):
        array = 0.5 * random.standard_normal(shape)
    else:
        array = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return array.astype(np.float32)
