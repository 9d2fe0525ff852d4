"""Vision transformers held against timm's: the resizing of positions, and the tokens
behind every block.
"""

import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from experiments.parity.golden_weights import vit_weights
from hfpl_jax.models.backbones.vit import Vit
from hfpl_jax.models.positions import resized_positions
from hfpl_jax.models.pretrained import place_network
from hfpl_jax.models.transformer import layer_norm

OF_POSITIONS = 1e-5
OF_NETWORKS = 1e-4


def check_vit(goldens: pathlib.Path) -> list[Check]:
    """vit_timm.npz and pos_embed.npz."""
    return [
        Check("ViT", name, relative_error(ours, theirs), tolerance)
        for part in (_positions, _normalisation, _networks)
        for name, ours, theirs, tolerance in part(goldens)
    ]


def _positions(goldens: pathlib.Path) -> Iterator[tuple]:
    with np.load(goldens / "pos_embed.npz") as golden:
        for case in range(3):
            side, height, width = golden[f"{case}_size"]
            of_rules = {"antialiased": "timm", "bicubic": "size_bicubic", "shifted": "dino"}
            table = golden[f"{case}_pos"][0, 1:].reshape(side, side, -1)
            table, grid = jnp.asarray(table, jnp.float32), (int(height), int(width))
            for rule, name in of_rules.items():
                ours = resized_positions(table, grid, rule=rule)
                theirs = golden[f"{case}_{name}"][:, -height * width :].reshape(ours.shape)
                yield f"positions {rule}, case {case}", ours, theirs, OF_POSITIONS


def _normalisation(goldens: pathlib.Path) -> Iterator[tuple]:
    weights = vit_weights(goldens / "vit_timm_names.json")
    params = {"scale": weights["norm.weight"], "bias": weights["norm.bias"]}
    dtypes = {"dtype": jnp.float32, "param_dtype": jnp.float32}
    with np.load(goldens / "vit_timm.npz") as golden:
        ours = layer_norm(1e-6, dtypes, None).apply({"params": params}, golden["ln_in"])
        yield "normalisation", ours, golden["ln_out"], OF_NETWORKS


def _networks(goldens: pathlib.Path) -> Iterator[tuple]:
    weights = vit_weights(goldens / "vit_timm_names.json")
    with np.load(goldens / "vit_timm.npz") as golden:
        _, width, depth, heads, image, patch = golden["config"].tolist()
        network = Vit(width=width, heads=heads, depth=depth, patch=patch, table=image // patch)
        abstract = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
        backbone = {name: array for name, array in weights.items() if "head" not in name}
        variables = place_network(backbone, abstract, network)

        @jax.jit
        def look(variables, images):
            output, normed = network.apply(variables, images, method="look")
            return output._replace(front=0, grid=()), normed

        for case in range(3):
            images = jnp.asarray(channels_last(golden[f"{case}_x"]), jnp.float32)
            output, normed = look(variables, images)
            for number, theirs in enumerate(golden[f"{case}_tokens"]):
                yield f"case {case}, block {number}", output.tokens[number], theirs, OF_NETWORKS
            yield f"case {case}, normalised", normed, golden[f"{case}_normed"], OF_NETWORKS
