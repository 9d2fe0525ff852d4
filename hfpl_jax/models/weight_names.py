"""Names of the arrays in public weight files, as data: our module on the left, the
file's on the right.

The left side is a regular expression for the path of a module ("layer1/block0/conv1"),
the right side the name of its convolution and, where our module holds a normalisation
too, the name of that.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

TORCH_LEAVES = {
    "kernel": "{}.weight",
    "scale": "{}.weight",
    "bias": "{}.bias",
    "mean": "{}.running_mean",
    "var": "{}.running_var",
}

MXNET_LEAVES = {
    "kernel": "arg:{}_weight",
    "scale": "arg:{}_gamma",
    "bias": "arg:{}_beta",
    "mean": "aux:{}_moving_mean",
    "var": "aux:{}_moving_var",
}


class Names(NamedTuple):
    """`modules`: the table. `leaves`: how an array is named by its module. `ignored`: a
    regular expression for the file's arrays that belong to no backbone."""

    modules: Mapping[str, str | tuple[str, str]]
    leaves: Mapping[str, str]
    ignored: str

    def key(self, path: str) -> str | None:
        """The key in the file of the array we call `path`
        ("layer1/block0/conv1/kernel"), or None if the table lacks it.
        """
        module, _, leaf = path.rpartition("/")
        for pattern, names in self.modules.items():
            match = re.fullmatch(pattern, module)
            if match:
                name = names if isinstance(names, str) else names[leaf != "kernel"]
                return self.leaves[leaf].format(match.expand(name))
        return None


RESNET = Names(
    {
        r"stem": ("conv1", "bn1"),
        r"layer(\d)/block(\d+)/conv(\d)": (r"layer\1.\2.conv\3", r"layer\1.\2.bn\3"),
        r"layer(\d)/block(\d+)/downsample": (
            r"layer\1.\2.downsample.0",
            r"layer\1.\2.downsample.1",
        ),
    },
    TORCH_LEAVES,
    ignored=r"fc\.(weight|bias)|.*\.num_batches_tracked",
)
"""torchvision's ResNet-18 ... 101. timm's resnet18 ... 101 use the same names; its
variants with another stem or shortcut (resnet50d, ...) are other networks. Ignored: the
ImageNet classifier and torch's counters of training batches."""

RESNET38 = Names(
    {r"conv1a|bn7": r"\g<0>", r"(b\d(?:_\d)?)/((?:conv|bn)_branch\w+)": r"\1.\2"},
    TORCH_LEAVES,
    ignored=r"(fc8|f8_[345]|f9)\.weight|.*\.num_batches_tracked",
)
"""The PyTorch programs of PSA, SEAM and HFPL. Ignored: the layers of their heads."""

RESNET38_MXNET = Names(
    {
        r"conv1a|bn7": r"\g<0>",
        r"b(\d)/conv_(branch\w+)": r"res\1a_\2",
        r"b(\d)_(\d)/conv_(branch\w+)": r"res\1b\2_\3",
        r"b(\d)/bn_(branch\w+)": r"bn\1a_\2",
        r"b(\d)_(\d)/bn_(branch\w+)": r"bn\1b\2_\3",
    },
    MXNET_LEAVES,
    ignored=r".*",
)
"""The ImageNet weights that all of them start from, as MXNet saved them: with the
classifier and whatever else a checkpoint of MXNet carries, which is ignored."""

HEADS: Mapping[str, str | tuple[str, str]] = {
    r"head": "fc8",
    r"reduce_(?:conv4|layer2)": "f8_3",
    r"reduce_(?:conv5|layer3)": "f8_4",
    r"reduce_(?:conv6|layer4)": "f8_5",
    r"embed": "f9",
    r"head/fov(2?)": (r"conv_fov\1", r"bn_fov\1"),
    r"head/classifier": "cls_conv",
}
"""The layers of ours behind a backbone: CAM, SEAM and affinity networks, and DeepLab
v1, under the names of SEAM and HFPL.
"""


def backbone_names(ours: Sequence[str], theirs: Sequence[str]) -> Names:
    """The table for a backbone with our arrays `ours` and a file with the arrays
    `theirs`.
    """
    if "conv1a/kernel" not in ours:
        return RESNET
    return RESNET38_MXNET if any(key.startswith(("arg:", "aux:")) for key in theirs) else RESNET38
