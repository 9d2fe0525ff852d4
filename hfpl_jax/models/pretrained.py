"""Pretrained weights from safetensors, npz and MXNet files under the names of public
programs, read with NumPy alone.
"""

import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np
import safetensors.numpy
from flax import traverse_util

from hfpl_jax.errors import InputError
from hfpl_jax.models import weight_names
from hfpl_jax.models.mxnet_params import read_mxnet_params
from hfpl_jax.models.npz import read_npz
from hfpl_jax.models.resnet import BLOCKS

RANDOM = "random"
"""What config.model.weights says in place of a file's name."""

SUFFIXES = (".safetensors", ".npz", ".params")

CONVERT = (
    "Save the state dict with safetensors.torch.save_file, or its arrays with numpy.savez, "
    "and give that file."
)


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every array of a `.safetensors`, `.npz` or (MXNet's) `.params` file under the
    name it has there. Nothing is unpickled.

    Raises:
      InputError: the file is absent, of another kind, truncated, or holds Python
        objects.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise absent(path)
    if path.suffix == ".params":
        return read_mxnet_params(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.numpy.load_file(path)
        if path.suffix == ".npz":
            return read_npz(path)
    except Exception as error:  # whatever a damaged or forged file makes the readers raise
        reason = str(error) or type(error).__name__
        raise InputError(
            f"The weight file {path} cannot be read ({reason}): it is damaged or not what its name "
            f"says. {CONVERT}"
        ) from error
    raise InputError(
        f"The weight file {path} is neither .safetensors nor .npz nor .params. {CONVERT}"
    )


def absent(path: pathlib.Path) -> InputError:
    """That a weight file is not there."""
    return InputError(
        f"The weight file {path} does not exist. Set config.model.weights to a .safetensors, "
        f".npz or .params file, or to {RANDOM!r} to train from random numbers."
    )


def load_backbone(path: str | os.PathLike, variables: Mapping) -> dict:
    """Variables whose backbone holds the file's arrays; everything else, a head for
    instance, is handed through.

    Kernels turn from OIHW to HWIO, and each array takes the dtype it has in `variables`
    (half precision in the file is only storage). The shapes cannot tell "v1" from
    "v1.5" weights: `ResNet.version` must be the file's.

    Args:
      path: a file under the names that `weight_names` has for this kind of backbone:
        torchvision's for a `ResNet`, those of PSA, SEAM and HFPL or of MXNet for a
        `ResNet38`. Its classifier, and the heads of those programs, are dropped.
      variables: `{"params": ..., "batch_stats": ...}` of a backbone or of a network
        that keeps one under "backbone"; arrays or their shapes (`jax.eval_shape`).

    Returns:
      A tree of the structure of `variables`. The new arrays are NumPy's: the caller
      decides on which devices they go.

    Raises:
      InputError: the file cannot be read, or its keys do not fit; one message lists
        every unknown, missing, misshapen and non-finite array.
    """
    arrays = read_weights(path)
    names, targets, _ = _targets(arrays, variables)
    return _place(
        arrays,
        variables,
        targets,
        names.ignored,
        f"The weight file {path} does not fit the backbone.",
    )


def place_network(
    arrays: Mapping[str, np.ndarray], variables: Mapping, where: str = "This state dict"
) -> dict:
    """Variables of a whole network from a PyTorch state dict, heads included;
    `read_weights` gives that of a file.

    The published CAM layer `fc8` has a row for the background too, in front: it got no
    gradient, nothing reads it, and it is dropped. A state dict whose backbone is named
    "backbone." (as in the final stage) is understood as well.

    Args:
      arrays: by their names in the original program.
      variables: of a `CamNetwork`, `SeamNetwork`, `AffinityNetwork` or a
        `SegmentationNetwork` with the head of DeepLab v1; arrays or their shapes.
      where: the arrays' origin, as a message says it.

    Raises:
      InputError: as in `load_backbone`.
    """
    names, targets, heads = _targets(arrays, variables)
    if any(key.startswith("backbone.") for key in arrays):
        targets = {f"backbone.{key}": full for key, full in targets.items()}
    targets |= _keys(heads, names._replace(modules=weight_names.HEADS))
    if "fc8.weight" in arrays and "fc8.weight" in targets:
        classes = _leaves(variables)[targets["fc8.weight"]].shape[-1]
        if arrays["fc8.weight"].shape[:1] == (classes + 1,):
            arrays = {**arrays, "fc8.weight": arrays["fc8.weight"][1:]}
    return _place(
        arrays, variables, targets, r".*\.num_batches_tracked", f"{where} does not fit the network."
    )


def _leaves(variables):
    return traverse_util.flatten_dict(dict(variables), sep="/")


def _path(full):
    """Of "params/head/kernel": "head/kernel"."""
    return full.split("/", 1)[1]


def _targets(arrays, variables):
    """The backbone's table of names, its arrays by their keys in the file, and the
    other arrays by their paths.
    """
    ours = [full for full in _leaves(variables) if full.startswith(("params/", "batch_stats/"))]
    prefix = "backbone/" if "backbone" in variables["params"] else ""
    backbone = {
        _path(full).removeprefix(prefix): full for full in ours if _path(full).startswith(prefix)
    }
    heads = {_path(full): full for full in ours if not _path(full).startswith(prefix)}
    names = weight_names.backbone_names(backbone, arrays)
    return names, _keys(backbone, names), heads


def _keys(paths, names):
    """From our arrays by path to the same by their keys in a file."""
    unnamed = [path for path in paths if names.key(path) is None]
    if unnamed:
        raise InputError(
            "No public program has names for these arrays, so no file can fill them: "
            f"{', '.join(unnamed)}."
        )
    return {names.key(path): full for path, full in paths.items()}


def _place(arrays, variables, targets, ignored, complaint):
    ours = _leaves(variables)
    problems = [
        f"missing: {key} {file_shape(ours[full].shape)}"
        for key, full in targets.items()
        if key not in arrays
    ]
    loaded = {}
    for key, array in arrays.items():
        if key not in targets:
            if not re.fullmatch(ignored, key):
                problems.append(f"unknown: {key} {array.shape}")
            continue
        leaf = ours[targets[key]]
        if array.shape != file_shape(leaf.shape):
            problems.append(
                f"wrong shape: {key} is {array.shape}, the network has {file_shape(leaf.shape)}"
            )
        elif not np.can_cast(array.dtype, np.float32, "same_kind"):
            problems.append(f"no numbers: {key} is of the type {array.dtype}")
        elif not np.isfinite(array.astype(np.float32)).all():
            problems.append(f"not finite: {key} holds NaN or infinity")
        else:
            hwio = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
            loaded[targets[key]] = np.ascontiguousarray(hwio.reshape(leaf.shape), dtype=leaf.dtype)
    if problems:
        raise InputError(
            f"{complaint}{guess(arrays)} "
            "Choose the file and config.model.depth that belong together. "
            + "\n  ".join([f"{len(problems)} arrays differ:", *problems])
        )
    return traverse_util.unflatten_dict(ours | loaded, sep="/")


def file_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape in the file (OIHW) of an array of ours (HWIO, or IO for a 1x1 convolution
    that is a matrix product).
    """
    if len(shape) == 2:
        return (shape[1], shape[0], 1, 1)
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else tuple(shape)


def guess(arrays: Mapping[str, np.ndarray]) -> str:
    """Says which ResNet a file holds, if it holds one."""
    if any(key.endswith(("b7.conv_branch1.weight", "res7a_branch1_weight")) for key in arrays):
        return " It looks like a ResNet-38."
    blocks = tuple(
        len({key.split(".")[1] for key in arrays if key.startswith(f"layer{i}.")})
        for i in (1, 2, 3, 4)
    )
    bottleneck = "layer1.0.conv3.weight" in arrays
    found = [
        depth
        for depth, counts in BLOCKS.items()
        if counts == blocks and (depth >= 50) == bottleneck
    ]
    return f" It looks like a ResNet-{found[0]}." if found else ""
