"""From a configuration to the network and the method it names."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from hfpl_jax.errors import InputError
from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.method import Method
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.models.resnet import ResNet

METHODS = {"cam": Cam}
"""A new method is a file in methods/ and a line here."""


def build_network(config: ConfigDict, num_classes: int) -> CamNetwork:
    model = config.model
    if model.dtype not in ("float32", "bfloat16"):
        raise InputError(f'config.model.dtype = {model.dtype!r} is not known. Use "float32" or "bfloat16".')
    backbone = ResNet(model.depth, model.output_stride, version=model.version, width=model.width, dtype=jnp.dtype(model.dtype))
    return CamNetwork(backbone, num_classes, frozen_batch_norm=model.frozen_batch_norm)


def build_method(config: ConfigDict) -> Method:
    """The method, wearing the HFPL losses if one of them has a weight."""
    if config.method.name not in METHODS:
        raise InputError(f"config.method.name = {config.method.name!r} is not known. Known methods: {', '.join(METHODS)}.")
    method, hfpl = METHODS[config.method.name](), config.hfpl
    if not 0.0 <= hfpl.isl_weight <= 1.0:
        raise InputError(f"config.hfpl.isl_weight = {hfpl.isl_weight} is a share of the classification term. Choose a number from 0 to 1.")
    if not hfpl.isl_weight and not hfpl.fsl_weight:
        return method
    return Hfpl(
        method,
        isl_weight=hfpl.isl_weight,
        fsl_weight=hfpl.fsl_weight,
        num_samples=hfpl.num_samples,
        mu=hfpl.mu,
        sigma=hfpl.sigma or None,
        window=hfpl.window or None,
    )


def initial_variables(config: ConfigDict, network: CamNetwork) -> dict:
    """Random parameters from the seed, the backbone's replaced by `config.model.weights` where that is given."""
    side = 2 * config.model.output_stride
    variables = jax.jit(network.init)(jax.random.key(config.seed), jnp.zeros((1, side, side, 3), jnp.float32))
    return load_backbone(config.model.weights, variables) if config.model.weights else variables
