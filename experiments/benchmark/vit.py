"""A vision transformer on a photograph: its forward pass, and MCTformer's attention maps,
also with every head of every block kept.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments.benchmark import inputs
from experiments.benchmark.networks import flops
from experiments.benchmark.side import Side
from experiments.parity.golden_weights import vit_array
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.vit import Vit
from hfpl_jax.models.mct_network import MctNetwork
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.models.pretrained import head_names, place_network
from hfpl_jax.models.transformer import layer_norm
from hfpl_jax.runtime import allocator


def _backbone(name: str) -> Vit:
    entry = BACKBONES[name]
    network = entry.network(entry.settings())
    assert isinstance(network, Vit)
    return network


def _variables(network: nn.Module, backbone: Vit) -> dict:
    """By the rule of `vit_array`."""
    abstract = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    whole, arrays = isinstance(network, Vit), {}
    for path, leaf in traverse_util.flatten_dict(abstract["params"], sep="/").items():
        inner = whole or path.startswith("backbone/")
        names = backbone.weight_names[0] if inner else head_names(backbone)
        key, layout = names.find(path.removeprefix("backbone/"))
        arrays[key] = vit_array(key, layout.in_file(leaf.shape))
    return jax.device_put(place_network(arrays, abstract, backbone))


def _side(compute: Callable[..., dict[str, Any]], variables: dict, size: int) -> Side:
    allocator.spare_memory()  # as the command does
    image, _ = inputs.photograph(3, size, size)
    pixels = normalize(jnp.asarray(image)[None], jnp.ones((1, size, size), bool))
    program = jax.jit(compute)

    def run() -> dict[str, Any]:
        return jax.block_until_ready(program(variables, pixels))

    return Side(
        run,
        lambda made: {name: np.asarray(each) for name, each in made.items()},
        flops=flops(program.lower(variables, pixels)),
        images=1,
    )


def _forward(backbone: str, size: int, attention: bool) -> Side:
    network = _backbone(backbone)

    def compute(variables: dict, pixels: jax.Array) -> dict[str, Any]:
        _, normed = network.apply(variables, pixels, attention=attention, method="look")
        return {"tokens": normed}

    return _side(compute, _variables(network, network), size)


def forward(backbone: str, size: int) -> Side:
    return _forward(backbone, size, attention=False)


def forward_by_products(backbone: str, size: int) -> Side:
    """Attention as two matrix products and a softmax."""
    return _forward(backbone, size, attention=True)


def _mctformer(backbone: str) -> tuple[MctNetwork, dict]:
    own = _backbone(backbone).clone(class_tokens=inputs.CLASSES)
    network = MctNetwork(own, inputs.CLASSES)
    return network, _variables(network, own)


def attention(backbone: str, size: int) -> Side:
    network, variables = _mctformer(backbone)

    def compute(variables: dict, pixels: jax.Array) -> dict[str, Any]:
        made = network.apply(variables, pixels, attention=True)
        of_classes = made.class_attention.transpose(0, 1, 4, 2, 3)
        return {
            "class_attention": of_classes.reshape(*of_classes.shape[:3], -1),
            "patch_attention": made.patch_attention,
        }

    return _side(compute, variables, size)


def attention_of_all_heads(backbone: str, size: int) -> Side:
    """Every head of every block is kept until the end."""
    network, variables = _mctformer(backbone)
    vit, classes = network.backbone, inputs.CLASSES
    dtypes = {"dtype": jnp.float32, "param_dtype": jnp.float32}
    norm = layer_norm(vit.epsilon, dtypes, None)

    def compute(variables: dict, pixels: jax.Array) -> dict[str, Any]:
        params, kept = variables["params"]["backbone"], []
        seen, _ = vit.apply({"params": params}, pixels, method="look")
        for number, x in enumerate(seen.tokens[:-1]):
            own = params[f"block{number}"]
            joint = nn.Dense(3 * vit.width).apply(
                {"params": own["query_key_value"]}, norm.apply({"params": own["norm1"]}, x)
            )
            query, key, _ = jnp.moveaxis(joint.reshape(*x.shape[:2], 3, vit.heads, -1), 2, 0)
            products = jnp.einsum("bihd,bjhd->bhij", query, key) * query.shape[-1] ** -0.5
            kept.append(nn.softmax(products))
        kept = jax.lax.optimization_barrier(kept)
        means = [each.mean(axis=1) for each in kept]
        return {
            "class_attention": jnp.stack([each[:, :classes, classes:] for each in means]),
            "patch_attention": sum(each[:, classes:, classes:] for each in means),
        }

    return _side(compute, variables, size)
