"""Pretrained weights: torchvision- or timm-named safetensors and npz files, read with NumPy alone."""

import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from hfpl_jax.errors import InputError
from hfpl_jax.models import weight_names
from hfpl_jax.models.resnet import BLOCKS

CONVERT = "Save the state dict with safetensors.torch.save_file, or its arrays with numpy.savez, and give that file."


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every array of a `.safetensors` or `.npz` file under the name it has there. Nothing is unpickled.

    Raises:
      InputError: the file is absent, of another kind, truncated, or holds Python objects.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"The weight file {path} does not exist. Set config.model.weights to a .safetensors or .npz file.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.numpy.load_file(path)
        if path.suffix == ".npz":
            with open(path, "rb") as file:
                arrays = np.load(file, allow_pickle=False)
                if isinstance(arrays, np.ndarray):
                    raise ValueError("it holds one array without a name")
                return {name: arrays[name] for name in arrays.files}
    except (safetensors.SafetensorError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, KeyError) as error:
        raise InputError(f"The weight file {path} cannot be read ({error}): it is damaged, or not what its name says. {CONVERT}") from error
    raise InputError(f"The weight file {path} is neither .safetensors nor .npz. {CONVERT}")


def file_key(path: str, names: Mapping[str, str]) -> str:
    """The key in the file of the array we call `path` ("layer1/block0/conv1/kernel"), by a table of `weight_names`."""
    numbers = re.findall(r"\d+", path)
    stem, leaf = path.rsplit("/", 1)
    general = re.sub(r"\d+", "{i}", stem) + "/" + ("{norm}" if leaf in weight_names.NORM else leaf)
    key = names[general].replace("{norm}", weight_names.NORM.get(leaf, ""))
    for number in numbers:
        key = key.replace("{i}", number, 1)
    return key


def load_backbone(path: str | os.PathLike, variables: Mapping, names: Mapping[str, str] = weight_names.RESNET) -> dict:
    """Variables whose backbone holds the file's arrays; everything else, a head for instance, is handed through.

    Kernels turn from OIHW to HWIO, and each array takes the dtype it has in `variables` (half precision in the file is
    only storage). The shapes cannot tell "v1" from "v1.5" weights: `ResNet.version` must be the file's.

    Args:
      path: a `.safetensors` or `.npz` file. Its classifier (`fc.*`) is dropped.
      variables: `{"params": ..., "batch_stats": ...}` of a backbone or of a network that keeps one under "backbone";
        arrays or their shapes (`jax.eval_shape`).
      names: table of `weight_names` for this kind of backbone.

    Returns:
      A tree of the structure of `variables`. The new arrays are NumPy's: the caller decides on which devices they go.

    Raises:
      InputError: the file cannot be read, or its keys do not fit; one message lists every unknown, missing, misshapen
        and non-finite array.
    """
    arrays = read_weights(path)
    ours = traverse_util.flatten_dict(dict(variables), sep="/")
    prefix = "backbone/" if "backbone" in variables["params"] else ""
    targets = {}
    for full in ours:
        collection, name = full.split("/", 1)
        if collection in ("params", "batch_stats") and name.startswith(prefix):
            targets[file_key(name.removeprefix(prefix), names)] = full

    problems = [f"missing: {key} {file_shape(ours[full].shape)}" for key, full in targets.items() if key not in arrays]
    loaded = {}
    for key, array in arrays.items():
        if key not in targets:
            if not re.fullmatch(weight_names.NOT_BACKBONE, key):
                problems.append(f"unknown: {key} {array.shape}")
            continue
        leaf = ours[targets[key]]
        if array.shape != file_shape(leaf.shape):
            problems.append(f"wrong shape: {key} is {array.shape}, the network has {file_shape(leaf.shape)}")
        elif not np.isfinite(array.astype(np.float32)).all():
            problems.append(f"not finite: {key} holds NaN or infinity")
        else:
            hwio = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
            loaded[targets[key]] = np.ascontiguousarray(hwio, dtype=leaf.dtype)
    if problems:
        raise InputError(
            f"The weight file {path} does not fit the backbone.{guess(arrays)} "
            "Choose the file and config.model.depth that belong together. " + "\n  ".join([f"{len(problems)} arrays differ:", *problems])
        )
    return traverse_util.unflatten_dict(ours | loaded, sep="/")


def file_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape in the file (OIHW) of an array of ours (HWIO)."""
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else tuple(shape)


def guess(arrays: Mapping[str, np.ndarray]) -> str:
    """Says which ResNet a file holds, if it holds one."""
    blocks = tuple(len({key.split(".")[1] for key in arrays if key.startswith(f"layer{i}.")}) for i in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in arrays
    found = [depth for depth, counts in BLOCKS.items() if counts == blocks and (depth >= 50) == bottleneck]
    return f" It looks like a ResNet-{found[0]}." if found else ""
