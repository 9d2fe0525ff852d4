"""A method's network with weights that its parameters' names determine."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments.benchmark.inputs import CLASSES
from experiments.benchmark.weights import seam_variables
from hfpl_jax.models.cam_network import CamNetwork


def flops(program: jax.stages.Lowered | jax.stages.Compiled) -> float | None:
    """Arithmetic of a program, by the compiler's count.

    Its count of bytes is none of the traffic with the memory: it has what stays in caches
    too.
    """
    return (program.cost_analysis() or {}).get("flops")


def method_variables(network: nn.Module) -> dict:
    """Backbone and classifier follow from their names, and are those of all methods; what
    a method has besides is random.
    """
    plain = network.backbone.clone(suppression="")
    shared, random = seam_variables(CamNetwork(plain, CLASSES)), np.random.default_rng(0)
    named = traverse_util.flatten_dict(shared["params"])
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    abstract = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    params = {
        path: named[path]
        if path in named and named[path].shape == leaf.shape
        else 0.1 * random.standard_normal(leaf.shape, np.float32)
        for path, leaf in traverse_util.flatten_dict(abstract).items()
    }
    return {**shared, "params": traverse_util.unflatten_dict(params)}
