"""Weights that the names in a PyTorch state dict determine, so that both sides'
networks have the same without a file between them.
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from experiments.parity.golden_weights import golden_array
from hfpl_jax.models import weight_names
from hfpl_jax.models.pretrained import file_shape, place_network
from hfpl_jax.models.resnet import ResNet
from hfpl_jax.models.resnet38 import ResNet38
from hfpl_jax.models.seam_network import SeamNetwork


def seam_network(depth: int, num_classes: int) -> SeamNetwork:
    """ResNet-50 at output stride 16, or the wide ResNet-38 (stride 8); no dropout
    before the head."""
    if depth == 38:
        return SeamNetwork(ResNet38(), num_classes, dropout=0.0)
    return SeamNetwork(
        ResNet(depth, output_stride=16),
        num_classes,
        correlation_features=("layer2", "layer3"),
        dropout=0.0,
    )


def torch_name(path: str) -> str:
    """Of an array of a SEAM network that we call
    "backbone/layer1/block0/conv1/kernel".
    """
    inner = path.removeprefix("backbone/")
    names = weight_names.RESNET38 if re.match(r"conv1a|bn7|b\d", inner) else weight_names.RESNET
    return (names if inner != path else names._replace(modules=weight_names.HEADS)).key(inner)


def seam_variables(network: nn.Module) -> dict:
    """By the rule of `golden_array`."""
    abstract = jax.eval_shape(
        network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )
    leaves = traverse_util.flatten_dict(abstract, sep="/")
    shapes = {
        torch_name(path.partition("/")[2]): file_shape(leaf.shape) for path, leaf in leaves.items()
    }
    return place_network(
        {name: golden_array(name, shape) for name, shape in shapes.items()}, abstract
    )
