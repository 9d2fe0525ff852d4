"""Weights that the names in a PyTorch state dict determine, so that both sides'
networks have the same without a file between them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from experiments.parity.golden_weights import golden_array
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.pretrained import head_names, place_network
from hfpl_jax.models.seam_network import SeamNetwork


def seam_network(backbone: str, num_classes: int) -> SeamNetwork:
    """With the default settings of this backbone; no dropout before the head."""
    entry = BACKBONES[backbone]
    return SeamNetwork(entry.network(entry.settings()), num_classes, dropout=0.0)


def seam_variables(network: nn.Module) -> dict:
    """Of a SEAM or CAM network, by the rule of `golden_array`."""
    abstract = jax.eval_shape(
        network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )
    arrays = {}
    for path, leaf in traverse_util.flatten_dict(abstract, sep="/").items():
        _, _, inner = path.partition("/")
        ours = inner.removeprefix("backbone/")
        heads = head_names(network.backbone)
        names = heads if ours == inner else network.backbone.weight_names[0]
        key, layout = names.find(ours)
        arrays[key] = golden_array(key, layout.in_file(leaf.shape))
    return place_network(arrays, abstract, network.backbone)
