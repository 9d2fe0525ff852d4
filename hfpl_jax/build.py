"""From a configuration to the network and the method it names."""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from hfpl_jax.errors import InputError
from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.method import Method
from hfpl_jax.methods.seam import Seam
from hfpl_jax.models.affinity_network import AffinityNetwork
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.models.resnet import ResNet
from hfpl_jax.models.resnet38 import ResNet38
from hfpl_jax.models.seam_network import SeamNetwork
from hfpl_jax.models.segmentation_network import SegmentationNetwork
from hfpl_jax.training.checkpoint import restore_variables
from hfpl_jax.training.mesh import Mesh, replicated

METHODS = {
    "cam": lambda settings: Cam(),
    "seam": lambda settings: Seam(view_scale=settings.view_scale),
}
"""Of config.method; a new method is a file in methods/ and a line here."""

WIDE_DEPTH = 38
"""The depth that stands for the wide ResNet-38 of SEAM and HFPL."""

_MIDDLE_FEATURES = (
    "layer2",
    "layer3",
)  # of a ResNet, in place of ResNet38's conv4 and conv5; as many channels, at other strides


def build_backbone(config: ConfigDict, **options) -> ResNet | ResNet38:
    """The backbone of every network of a run. `options` are attributes that only some
    of them set."""
    model = config.model
    if model.dtype not in ("float32", "bfloat16"):
        raise InputError(
            f'config.model.dtype = {model.dtype!r} is not known. Use "float32" or "bfloat16".'
        )
    dtype = jnp.dtype(model.dtype)
    if model.depth != WIDE_DEPTH:
        return ResNet(
            model.depth,
            model.output_stride,
            version=model.version,
            width=model.width,
            dtype=dtype,
            **options,
        )
    if model.output_stride != 8:
        raise InputError(
            f"config.model.output_stride = {model.output_stride}, but ResNet-38 has output stride "
            "8 alone. Set it to 8."
        )
    return ResNet38(width=model.width, dtype=dtype, **options)


def build_network(config: ConfigDict, num_classes: int) -> nn.Module:
    """The network that the method's CAMs come from."""
    model, backbone = config.model, build_backbone(config)
    shared = {"frozen_batch_norm": model.frozen_batch_norm, "dropout": model.dropout}
    if config.method.name != "seam":
        return CamNetwork(backbone, num_classes, **shared)
    middle = ("conv4", "conv5") if model.depth == WIDE_DEPTH else _MIDDLE_FEATURES
    return SeamNetwork(backbone, num_classes, correlation_features=middle, **shared)


def build_affinity_network(config: ConfigDict) -> AffinityNetwork:
    features = (
        ("conv4", "conv5", "conv6")
        if config.model.depth == WIDE_DEPTH
        else (*_MIDDLE_FEATURES, "layer4")
    )
    return AffinityNetwork(
        build_backbone(config), features, frozen_batch_norm=config.model.frozen_batch_norm
    )


def build_segmentation_network(config: ConfigDict, num_classes: int) -> SegmentationNetwork:
    settings = config.segmentation
    backbone = build_backbone(config, batch_norm_momentum=settings.batch_norm_momentum)
    return SegmentationNetwork(
        backbone, num_classes, head=settings.head, frozen_batch_norm=settings.frozen_batch_norm
    )


def build_method(config: ConfigDict) -> Method:
    """The method, wearing the HFPL losses if one of them has a weight."""
    if config.method.name not in METHODS:
        raise InputError(
            f"config.method.name = {config.method.name!r} is not known. Known methods: "
            f"{', '.join(METHODS)}."
        )
    method, hfpl = METHODS[config.method.name](config.method), config.hfpl
    if not 0.0 <= hfpl.isl_weight <= 1.0:
        raise InputError(
            f"config.hfpl.isl_weight = {hfpl.isl_weight} is a share of the classification term. "
            "Choose a number from 0 to 1."
        )
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


def _smallest_image(config: ConfigDict) -> jax.Array:
    side = 2 * config.model.output_stride
    return jnp.zeros((1, side, side, 3), jnp.float32)


def initial_variables(config: ConfigDict, network: nn.Module) -> dict:
    """Random parameters from the seed, the backbone's replaced by
    `config.model.weights` where that is given.
    """
    variables = jax.jit(network.init)(jax.random.key(config.seed), _smallest_image(config))
    return load_backbone(config.model.weights, variables) if config.model.weights else variables


def variable_shapes(config: ConfigDict, network: nn.Module) -> dict:
    """What `initial_variables` gives, as shapes: no file is read."""
    return jax.eval_shape(network.init, jax.random.key(0), _smallest_image(config))


def trained_variables(
    config: ConfigDict, network: nn.Module, folder: pathlib.Path, mesh: Mesh, *, which: str = "last"
) -> dict:
    """Parameters and statistics of `network` from the "last" or the "best" checkpoint
    of the training in a stage's `folder`.
    """
    shapes = variable_shapes(config, network)
    return restore_variables(folder, shapes, replicated(mesh), which=which)
