"""Peak response maps of a photograph: all peaks at once, and in JAX a backward pass a
peak, for where PyTorch is missing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.side import Side
from experiments.benchmark.weights import seam_variables
from hfpl_jax.inference.peak_responses import peak_responses
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime import allocator

STRIDE = 16
"""Of the network's output."""


def _side(peaks: int, height: int, width: int, responses: Callable[..., jax.Array]) -> Side:
    allocator.spare_memory()  # as the command does
    entry = BACKBONES["resnet50"]
    network = CamNetwork(entry.network(entry.settings()), inputs.CLASSES)
    variables = jax.device_put(seam_variables(network))
    image, _ = inputs.photograph(3, height, width)
    pixels = normalize(jnp.asarray(image)[None], jnp.ones((1, height, width), bool))[0]
    wanted = jnp.asarray(inputs.peaks(peaks, height // STRIDE, width // STRIDE))

    def run() -> jax.Array:
        return jax.block_until_ready(responses(network, variables, pixels, wanted))

    return Side(run, lambda maps: {"responses": np.asarray(maps)}, images=1)


def ours(**sizes: int) -> Side:
    return _side(**sizes, responses=jax.jit(peak_responses, static_argnums=0))


def peak_by_peak(**sizes: int) -> Side:
    one = jax.jit(peak_responses, static_argnums=0)

    def responses(network, variables, pixels, wanted):
        each = [one(network, variables, pixels, wanted[i : i + 1]) for i in range(len(wanted))]
        return jnp.concatenate(each)

    return _side(**sizes, responses=responses)
