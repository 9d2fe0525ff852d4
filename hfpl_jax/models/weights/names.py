"""How the arrays of a public weight file are named and laid out, as data that stands
beside each backbone: our module on the left, the file's layer on the right.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np

SUPPRESSION = "suppression"
"""What the names of all modules of this kind begin with: no public file but DRS's has
them.
"""

Shape = tuple[int, ...]
Arrays = Mapping[str, np.ndarray]


class Layout(NamedTuple):
    """What an array of a file becomes.

    Attributes:
      in_file: its shape in the file, from that of ours.
      ours: the array as ours is laid out; a reshape to our shape follows.
    """

    in_file: Callable[[Shape], Shape]
    ours: Callable[[np.ndarray], np.ndarray]


def _convolution_in_file(shape: Shape) -> Shape:
    *window, into, out = shape
    return (out, into, *(window or (1, 1)))


AS_IT_IS = Layout(lambda shape: shape, lambda array: array)
CONVOLUTION = Layout(_convolution_in_file, lambda array: array.transpose(2, 3, 1, 0))
"""OIHW in the file; ours is HWIO, or IO for a 1x1 convolution that is a matrix
product.
"""
DENSE = Layout(lambda shape: shape[::-1], lambda array: array.T)
"""OI in the file, IO in ours."""

TORCH_LEAVES: Mapping[str, str] = {
    "kernel": "{}.weight",
    "scale": "{}.weight",
    "bias": "{}.bias",
    "mean": "{}.running_mean",
    "var": "{}.running_var",
}
"""How PyTorch names an array by its layer."""


class Layer(NamedTuple):
    """`name`: of the layer in the file. `norm`: of its normalisation, where one module
    of ours holds both. `kernel`: what the array called "kernel" becomes."""

    name: str
    norm: str = ""
    kernel: Layout = CONVOLUTION


class Names(NamedTuple):
    """The names of one kind of file.

    Attributes:
      layers: by regular expressions for the path of a module ("layer1/block0/conv1").
      leaves: how an array is named by its layer.
      ignored: a regular expression for the file's arrays that belong to no backbone.
      optional: one for arrays of ours that a file may lack: they keep what they have.
      fitted: the file's arrays, from themselves and the shapes that are wanted of them,
        where a network has more of what the file has one of.
      recognise: the backbone, as config.model.backbone names it, that a file with these
        keys is of; "" if it is none of this kind.
    """

    layers: Mapping[str, Layer]
    leaves: Mapping[str, str] = TORCH_LEAVES
    ignored: str = r".*\.num_batches_tracked"
    optional: str = rf"(.*/)?{SUPPRESSION}\d*/kernel"
    fitted: Callable[[Arrays, Mapping[str, Shape]], Arrays] = lambda arrays, shapes: arrays
    recognise: Callable[[Collection[str]], str] = lambda keys: ""

    def find(self, path: str) -> tuple[str, Layout] | None:
        """The key in the file and the layout of the array we call `path`
        ("layer1/block0/conv1/kernel"); None if the table lacks it.
        """
        module, _, leaf = path.rpartition("/")
        for pattern, layer in self.layers.items():
            if match := re.fullmatch(pattern, module):
                kernel = leaf == "kernel"
                name = layer.name if kernel or not layer.norm else layer.norm
                key = self.leaves[leaf].format(match.expand(name))
                return key, layer.kernel if kernel else AS_IT_IS
        return None

    def key(self, path: str) -> str | None:
        """The key in the file of the array we call `path`, if it has one."""
        found = self.find(path)
        return found and found[0]
