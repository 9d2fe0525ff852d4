"""From a configuration to the networks and the method it names. What its values may be
is in hfpl_jax/settings/.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from hfpl_jax.methods import METHODS
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.method import Method
from hfpl_jax.models.amdim_network import AmdimNetwork
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.backbone import Backbone
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.models.segmentation_network import SegmentationNetwork
from hfpl_jax.models.several_networks import SeveralNetworks
from hfpl_jax.models.weights.names import SUPPRESSION
from hfpl_jax.models.weights.read import RANDOM
from hfpl_jax.refine import REFINERS
from hfpl_jax.refine.refiner import LearningRefiner, Refiner
from hfpl_jax.runtime.sharding import Mesh, local_mesh, replicated
from hfpl_jax.section import value_of
from hfpl_jax.training.checkpoint import restore_variables
from hfpl_jax.training.objective import Objective
from hfpl_jax.training.objectives import OBJECTIVES
from hfpl_jax.training.objectives.amdim import Pretrain
from hfpl_jax.training.objectives.final import FinalObjective
from hfpl_jax.training.objectives.pixel_losses import LOSSES
from hfpl_jax.training.objectives.segmentation import Segmentation
from hfpl_jax.training.optimizer import flatten


def build_backbone(
    config: ConfigDict, batch_norm_momentum: float | None = None, suppression: str = ""
) -> Backbone:
    """The backbone of every network of a run; `suppression` of the classifier's."""
    entry = BACKBONES[config.model.backbone]
    own = entry.settings.of(value_of(config, entry.settings.path))
    dtype = jnp.dtype(config.model.dtype)
    return entry.network(
        own, dtype=dtype, batch_norm_momentum=batch_norm_momentum, suppression=suppression
    )


def build_network(config: ConfigDict, num_classes: int) -> nn.Module:
    """The network that the method's CAMs come from."""
    model = config.model
    return build_method(config).network(
        build_backbone(config, suppression=model.suppression),
        num_classes,
        frozen_batch_norm=not starts_random(config, "train") and model.frozen_batch_norm,
        dropout=model.dropout,
    )


def build_refiner(config: ConfigDict) -> Refiner:
    refiner = REFINERS[config.refine.name]
    return refiner.of(value_of(config, refiner.path).to_dict())


def build_segmentation_network(config: ConfigDict, num_classes: int) -> SegmentationNetwork:
    settings = config.segmentation
    momentum = settings.batch_norm_momentum
    return SegmentationNetwork(
        build_backbone(config, momentum),
        num_classes,
        head=settings.head,
        frozen_batch_norm=not starts_random(config, "segmentation") and settings.frozen_batch_norm,
        batch_norm_momentum=momentum,
    )


def build_final_objective(config: ConfigDict) -> FinalObjective:
    """What the final network is trained for."""
    settings = config.segmentation
    objective = OBJECTIVES[settings.objective].of(settings[settings.objective])
    supervised = Segmentation(LOSSES[settings.loss].of(settings[settings.loss]))
    return dataclasses.replace(objective, supervised=supervised, crop_size=settings.crop_size)


def build_final_networks(config: ConfigDict, num_classes: int) -> nn.Module:
    """The final network, or what holds it and the others that its objective trains."""
    make = functools.partial(build_segmentation_network, config, num_classes)
    return build_final_objective(config).network(make)


def make_network(config: ConfigDict, section: str, num_classes: int) -> nn.Module:
    """The network that the training of a configuration's section trains."""
    with_classes = {"train": build_network, "segmentation": build_segmentation_network}
    if section in with_classes:
        return with_classes[section](config, num_classes)
    if section == Pretrain.path:
        return AmdimNetwork(build_backbone(config))
    refiner = build_refiner(config)
    assert isinstance(refiner, LearningRefiner)
    return refiner.network(
        build_backbone(config),
        num_classes,
        frozen_batch_norm=not starts_random(config, section),
    )


def starts_random(config: ConfigDict, section: str) -> bool:
    """Whether the training of a section starts from random numbers.

    Then nothing is frozen: a random stem would never learn, and there are no statistics
    to keep.
    """
    return config.model.weights == RANDOM and not value_of(config, section).init_from


def frozen_patterns(config: ConfigDict, section: str, network: nn.Module) -> tuple[str, ...]:
    """Patterns of the parameters that the training of a section leaves as they are."""
    if section == "train" and build_method(config).frozen:
        return ("^backbone/",)
    if starts_random(config, section):
        return ()
    settings = value_of(config, section)
    if isinstance(network, SeveralNetworks):
        one = getattr(network, network.members[0])
        patterns = patterns_of(one, stages=settings.freeze_stages, norms=settings.freeze_norms)
        return tuple(
            f"^{name}/{pattern.removeprefix('^')}"
            for name in network.members
            for pattern in patterns
        )
    return patterns_of(network, stages=settings.freeze_stages, norms=settings.freeze_norms)


def patterns_of(network: nn.Module, *, stages: int, norms: bool) -> tuple[str, ...]:
    """Of the parameters in the first stages of a network's backbone, and of the scales
    and biases of its normalisations: a layer with a scale is one. A suppression is in
    no weight file, so it is learnt in every stage.
    """
    first = "|".join(network.backbone.stages[:stages])
    patterns = [rf"^backbone/({first})/(?!.*\b{SUPPRESSION}\d*/)"] if stages else []
    paths = flatten(variable_shapes(network)["params"]) if norms else ()
    layers = [re.escape(path.removesuffix("/scale")) for path in paths if path.endswith("/scale")]
    return (*patterns, *([f"^({'|'.join(layers)})/(scale|bias)$"] if layers else ()))


def build_method(config: ConfigDict) -> Method:
    method = METHODS[config.method.name]
    return method.of(value_of(config, method.path))


def build_objective(config: ConfigDict) -> Objective:
    """The method, with the HFPL losses added if one of them has a weight."""
    method, hfpl = build_method(config), config.hfpl
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
        peak_floor=hfpl.peak_floor,
    )


def _starting_image(backbone: Backbone) -> jax.Array:
    """The smallest that a backbone, or a network around it, can be made with."""
    side = 2 * backbone.output_stride
    return jnp.zeros((1, side, side, 3), jnp.float32)


@functools.cache
def _init(network: nn.Module) -> Callable[[np.ndarray, np.ndarray], dict]:
    """From the words of a random key and an image to all that is trained. One function
    for each network: JAX traces it once, for shapes and for numbers.
    """
    method = "everything" if isinstance(network, SeveralNetworks) else None

    def init(words: jax.Array, image: jax.Array) -> dict:
        return network.init(jax.random.wrap_key_data(words), image, method=method)

    return init


def _begin(network: nn.Module, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What `_init` is called with."""
    words = np.asarray(jax.random.key_data(jax.random.key(seed)))
    return words, np.zeros(_starting_image(network.backbone).shape, np.float32)


def _random_variables(config: ConfigDict, network: nn.Module, shardings: dict | None) -> dict:
    """Made in their places, part by part: the numbers do not depend on these."""
    init = jax.jit(_init(network), out_shardings=shardings)
    return init(*_begin(network, config.seed))


def _placed(variables: dict, shardings: dict | None) -> dict:
    """What a file has brought goes where it is to live; what is there stays."""

    def place(leaf, sharding) -> jax.Array:
        there = isinstance(leaf, jax.Array) and leaf.sharding == sharding
        return leaf if there else jax.device_put(np.asarray(leaf), sharding)

    return variables if shardings is None else jax.tree.map(place, variables, shardings)


def initial_variables(
    config: ConfigDict,
    network: nn.Module,
    pretraining: pathlib.Path | None,
    shardings: dict | None = None,
) -> dict:
    """Random parameters from the seed, every backbone's replaced by those of
    `config.model.weights` where that is a file, or of the finished `pretraining` in a
    folder; each where `shardings` say, or on the first device.
    """
    variables = _random_variables(config, network, shardings)
    # "" where another run's parameters follow
    if not pretraining and config.model.weights in ("", RANDOM):
        return variables

    found = trained_backbone(build_backbone(config), pretraining) if pretraining else None

    def started(variables: dict) -> dict:
        if found:
            return _with_backbone(variables, found)
        return load_backbone(config.model.weights, variables, network.backbone)

    if isinstance(network, SeveralNetworks):
        whole = {kind: dict(part) for kind, part in variables.items()}
        for name in network.members:
            own = {kind: part[name] for kind, part in whole.items() if name in part}
            for kind, part in started(own).items():
                whole[kind][name] = part
        return _placed(whole, shardings)
    return _placed(started(variables), shardings)


def _with_backbone(variables: dict, found: dict) -> dict:
    """Variables of a network, those of its backbone being `found`, as far as they are
    there: a suppression that was not pretrained stays as it is.
    """
    inner = {name: {"backbone": arrays} for name, arrays in found.items()}
    ours, theirs = (traverse_util.flatten_dict(each) for each in (variables, inner))
    return traverse_util.unflatten_dict(ours | theirs)


def trained_backbone(backbone: Backbone, folder: pathlib.Path) -> dict:
    """Variables of the backbone alone, on the host, of the finished training in a
    folder, whatever network stands around it.
    """
    mesh = local_mesh(jax.local_device_count(), "")
    shapes = {name: {"backbone": part} for name, part in backbone_shapes(backbone).items()}
    found = jax.device_get(restore_variables(folder, shapes, replicated(mesh)))
    return {name: found[name]["backbone"] for name in shapes}


def frozen_variables(config: ConfigDict, network: nn.Module, shardings: dict | None = None) -> dict:
    """Random parameters from the seed around the backbone that the stored features are
    of; where `shardings` say, or on the first device.
    """
    variables = _random_variables(config, network, shardings)
    backbone = pretrained_backbone(config, network.backbone)
    variables = {name: {**part, "backbone": backbone[name]} for name, part in variables.items()}
    return _placed(variables, shardings)


def pretrained_backbone(
    config: ConfigDict, backbone: Backbone, pretraining: pathlib.Path | None = None
) -> dict:
    """Variables of the backbone alone, of `config.model.weights`, or of the finished
    `pretraining` in a folder: the same random ones for every seed where there is neither.
    """
    if pretraining:
        return trained_backbone(backbone, pretraining)
    if config.model.weights == RANDOM:
        return random_backbone(backbone)
    return load_backbone(config.model.weights, backbone_shapes(backbone), backbone)


def random_backbone(backbone: Backbone) -> dict:
    """Variables of random numbers, always the same."""
    return jax.jit(backbone.init)(jax.random.key(0), _starting_image(backbone))


def backbone_shapes(backbone: Backbone) -> dict:
    """What `pretrained_backbone` gives, as shapes: no file is read."""
    return jax.eval_shape(backbone.init, jax.random.key(0), _starting_image(backbone))


@functools.cache
def variable_shapes(network: nn.Module) -> dict:
    """What `initial_variables` gives, as shapes: no file is read."""
    return jax.eval_shape(_init(network), *_begin(network, 0))


def trained_variables(network: nn.Module, folder: pathlib.Path, mesh: Mesh) -> dict:
    """Parameters and statistics of `network` at the end of the training in a stage's
    `folder`, as far as looking at photographs takes them.
    """
    image = _starting_image(network.backbone)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)
    return restore_variables(folder, shapes, replicated(mesh))
