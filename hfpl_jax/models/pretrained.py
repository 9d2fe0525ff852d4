"""Pretrained weights under the names of public programs: a file's arrays in the place
of a network's own. What they are called, and what they become, stands beside each
backbone.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
from flax import traverse_util

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.backbone import Backbone
from hfpl_jax.models.weights.names import DENSE, Layer, Layout, Names
from hfpl_jax.models.weights.read import RANDOM, read_weights


def load_backbone(path: str | os.PathLike, variables: Mapping, backbone: Backbone) -> dict:
    """Variables whose backbone holds the file's arrays; everything else, such as a head
    or a suppression that the file lacks, is handed through.

    Each array takes the layout and the dtype it has in `variables` (half precision in
    the file is only storage). The shapes cannot tell "v1" from "v1.5" weights of a
    ResNet: `ResNet.version` must be the file's.

    Args:
      path: a file under one of the tables of names of this backbone. Its classifier,
        and the heads of published programs, are dropped.
      variables: `{"params": ..., "batch_stats": ...}` of a backbone or of a network
        that keeps one under "backbone"; arrays or their shapes (`jax.eval_shape`).
      backbone: the module itself.

    Returns:
      A tree of the structure of `variables`. The new arrays are NumPy's: the caller
      decides on which devices they go.

    Raises:
      InputError: the file cannot be read, or its keys do not fit; one message lists
        every unknown, missing, misshapen and non-finite array.
    """
    arrays = read_weights(path)
    ours, _ = _parts(variables)
    names = _names_of(arrays, ours, backbone.weight_names)
    wanted = {
        ours_in: full
        for ours_in, full in ours.items()
        if names.key(ours_in) in arrays or not re.fullmatch(names.optional, ours_in)
    }
    complaint = f"The weight file {path} does not fit the backbone."
    targets, leaves = _targets(wanted, names), _leaves(variables)
    shapes = {key: layout.in_file(leaves[full].shape) for key, (full, layout) in targets.items()}
    return _place(names.fitted(arrays, shapes), variables, targets, names.ignored, complaint)


def place_network(
    arrays: Mapping[str, np.ndarray],
    variables: Mapping,
    backbone: Backbone,
    where: str = "This state dict",
) -> dict:
    """Variables of a whole network from a PyTorch state dict, heads included;
    `read_weights` gives that of a file.

    The published CAM layer `fc8` has a row for the background too, in front: it got no
    gradient, nothing reads it, and it is dropped. A state dict whose backbone is named
    "backbone." (as in the final stage) is understood as well.

    Args:
      arrays: by their names in the original program.
      variables: of a `CamNetwork`, `SeamNetwork`, `AffinityNetwork`, `DrsNetwork` or a
        `SegmentationNetwork` with the head of DeepLab v1; arrays or their shapes.
      backbone: the network's.
      where: the arrays' origin, as a message says it.

    Raises:
      InputError: as in `load_backbone`.
    """
    inner, outer = _parts(variables)
    prefixed = any(key.startswith("backbone.") for key in arrays)
    bare = {key.removeprefix("backbone."): array for key, array in arrays.items()}
    targets = _targets(inner, _names_of(bare, inner, backbone.weight_names))
    if prefixed:
        targets = {f"backbone.{key}": target for key, target in targets.items()}
    heads = head_names(backbone)
    targets |= _targets(outer, heads)
    if "fc8.weight" in arrays and "fc8.weight" in targets:
        classes = _leaves(variables)[targets["fc8.weight"][0]].shape[-1]
        if arrays["fc8.weight"].shape[:1] == (classes + 1,):
            arrays = {**arrays, "fc8.weight": arrays["fc8.weight"][1:]}
    complaint = f"{where} does not fit the network."
    return _place(arrays, variables, targets, heads.ignored, complaint)


def head_names(backbone: Backbone) -> Names:
    """The layers behind a backbone: of CAM, SEAM and affinity networks, and DeepLab v1,
    under the names of SEAM, PPC and HFPL; and of DRS.
    """
    features = (*backbone.middle_features, backbone.head_feature)
    layers = {f"reduce_{name}": Layer(f"f8_{n}") for n, name in enumerate(features, start=3)}
    return Names(
        {
            "head": Layer("fc8"),
            **layers,
            "embed": Layer("f9"),
            "projection": Layer("fc_proj"),
            "head/fov(2?)": Layer(r"conv_fov\1", r"bn_fov\1"),
            "head/classifier": Layer("cls_conv"),
            r"head/conv(\d)": Layer(r"extra_conv\1"),
            r"head/suppression(\d)": Layer(r"extra_relu\1.fc.0", kernel=DENSE),
            "head/scores": Layer("extra_conv4"),
        }
    )


def _leaves(variables):
    return traverse_util.flatten_dict(dict(variables), sep="/")


def _parts(variables: Mapping) -> tuple[dict[str, str], dict[str, str]]:
    """The arrays of the backbone and all others: their paths in their collection, from
    the backbone on, and in `variables`.
    """
    prefix = "backbone/" if "backbone" in variables["params"] else ""
    backbone, heads = {}, {}
    for full in _leaves(variables):
        collection, _, path = full.partition("/")
        if collection in ("params", "batch_stats"):
            part = backbone if path.startswith(prefix) else heads
            part[path.removeprefix(prefix)] = full
    return backbone, heads


def _names_of(keys: Collection[str], paths: Iterable[str], tables: Sequence[Names]) -> Names:
    """The one of a backbone's tables under which most of its arrays are in a file."""
    if not tables:
        raise InputError(
            "No weight file is known for this backbone. Set config.model.weights to "
            f"{RANDOM!r}, or choose another config.model.backbone."
        )
    return max(tables, key=lambda names: sum(names.key(path) in keys for path in paths))


def _targets(paths: Mapping[str, str], names: Names) -> dict[str, tuple[str, Layout]]:
    """Our arrays and their layouts by their keys in a file."""
    found = {path: names.find(path) for path in paths}
    unnamed = [path for path, place in found.items() if place is None]
    if unnamed:
        raise InputError(
            "No public program has names for these arrays, so no file can fill them: "
            f"{', '.join(unnamed)}."
        )
    return {place[0]: (paths[path], place[1]) for path, place in found.items() if place}


def _place(arrays, variables, targets, ignored, complaint):
    ours = _leaves(variables)
    problems = [
        f"missing: {key} {layout.in_file(ours[full].shape)}"
        for key, (full, layout) in targets.items()
        if key not in arrays
    ]
    loaded = {}
    for key, array in arrays.items():
        if key not in targets:
            if not re.fullmatch(ignored, key):
                problems.append(f"unknown: {key} {array.shape}")
            continue
        full, layout = targets[key]
        leaf = ours[full]
        if array.shape != (shape := layout.in_file(leaf.shape)):
            problems.append(f"wrong shape: {key} is {array.shape}, the network has {shape}")
        elif not np.can_cast(array.dtype, np.float32, "same_kind"):
            problems.append(f"no numbers: {key} is of the type {array.dtype}")
        elif not np.isfinite(array.astype(np.float32)).all():
            problems.append(f"not finite: {key} holds NaN or infinity")
        else:
            turned = layout.ours(array).reshape(leaf.shape)
            loaded[full] = np.ascontiguousarray(turned, dtype=leaf.dtype)
    if problems:
        guesses = " or ".join(dict.fromkeys(filter(None, _recognised(arrays))))
        raise InputError(
            f"{complaint}{f' It looks like {guesses}.' if guesses else ''} "
            "Choose the file and config.model.backbone that belong together. "
            + "\n  ".join([f"{len(problems)} arrays differ:", *problems])
        )
    return traverse_util.unflatten_dict(ours | loaded, sep="/")


def _recognised(arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    for entry in BACKBONES.values():
        for names in entry.module.weight_names:
            yield names.recognise(arrays)
