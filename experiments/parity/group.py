"""Group-WSSS held against the published program: the parts of its graph, the readout of a
group with the training loss, and its classifier with given weights.
"""

import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from experiments.parity.golden_weights import golden_array
from hfpl_jax.methods.group import WEIGHTS, group_losses
from hfpl_jax.models.backbones.vgg16 import Vgg16
from hfpl_jax.models.drs_network import DrsNetwork
from hfpl_jax.models.graph_dropout import graph_dropout
from hfpl_jax.models.group_network import GroupGraph, GroupNetwork
from hfpl_jax.models.pretrained import place_network

TOLERANCE = 1e-5
OF_NETWORKS = 1e-4
NAMES = {
    "attention/asking": "extra_proja",
    "attention/keys": "extra_projb",
    "attention/gate": "extra_gate",
    "fusion": "extra_conv_fusion",
    "gru/update": "extra_ConvGRU.update_gate",
    "gru/reset": "extra_ConvGRU.reset_gate",
    "gru/candidate": "extra_ConvGRU.out_gate",
}
"""Modules of our graph -> the published layers. A linear layer of that program is never
used.
"""
UNSEEN = "attention/keys/bias"
"""Changes nothing and is not here: its recorded gradient is rounding."""
HEAD = {f"extra_convs.{2 * place}": f"extra_conv{place + 1}" for place in range(4)}
"""Layers of the head as this program and as that of DRS calls them."""


def check_graph(goldens: pathlib.Path) -> list[Check]:
    """gwsss.npz: co-attention, recurrent unit, graph dropout, and a group of three."""
    theirs = _arrays(goldens)
    return [
        Check("Group-WSSS graph", name, relative_error(ours, expected), TOLERANCE)
        for part in (_attention, _recurrence, _dropout, _readout)
        for name, ours, expected in part(theirs)
    ]


def check_network(goldens: pathlib.Path) -> list[Check]:
    """gwsss.npz: the logits before the graph."""
    theirs = _arrays(goldens)
    shapes = (line.split() for line in theirs["net_names"])
    weights = {key: golden_array(key, tuple(map(int, shape.split(",")))) for key, shape in shapes}
    weights = {_as_of_drs(key): array for key, array in weights.items()}
    images = channels_last(theirs["net_x"])
    classifier, network = DrsNetwork(Vgg16(), 20), GroupNetwork(Vgg16(), 20)
    shaped = jax.eval_shape(classifier.init, jax.random.key(0), images)
    variables = place_network(weights, shaped, classifier.backbone)
    with jax.default_matmul_precision("highest"):
        seen = jax.jit(lambda *given: network.apply(*given, method="seen"))(variables, images)
    error = relative_error(seen.maps, channels_last(theirs["net_raw"]))
    return [Check("Group-WSSS network", "logits before the graph", error, OF_NETWORKS)]


def _as_of_drs(key: str) -> str:
    layer, _, leaf = key.rpartition(".")
    return f"{HEAD.get(layer, layer)}.{leaf}"


def _arrays(goldens: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(goldens / "gwsss.npz") as golden:
        return dict(golden)


def _graph(theirs: Mapping[str, np.ndarray], kind: str = "w_{}") -> dict:
    """The parameters of the graph, or under another name what lies as they do."""
    found = {}
    for module, layer in NAMES.items():
        for leaf, name in (("kernel", "weight"), ("bias", "bias")):
            array = theirs.get(kind.format(f"{layer}.{name}"))
            if array is not None and f"{module}/{leaf}" != UNSEEN:
                found[f"{module}/{leaf}"] = _laid_out(module, array)
    return traverse_util.unflatten_dict(found, sep="/")


def _laid_out(module: str, array: np.ndarray) -> jax.Array:
    """HWIO, or IO of a 1x1 convolution."""
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
        array = array if module == "fusion" else array[0, 0]
    return jnp.asarray(array, jnp.float32)


def _pair(theirs: Mapping[str, np.ndarray], *names: str) -> jax.Array:
    """Two maps [1, c, h, w] as the members of one group."""
    return jnp.stack([channels_last(theirs[name]) for name in names], axis=1)


def _attention(theirs: Mapping[str, np.ndarray]):
    graph, params = GroupGraph(size=2, channels=20), _graph(theirs)

    def message(params, maps):
        """To the first one."""
        neighbours = ((1,), (0,))
        heard = graph.apply(
            {"params": params}, method=lambda bound: bound.attention(maps, neighbours)
        )
        return heard[:, 0]

    maps = _pair(theirs, "att_exemplar", "att_query")
    ours, back = jax.vjp(jax.jit(message), params, maps)
    slopes, to_maps = back(channels_last(theirs["att_gout"]))
    yield "message", ours, channels_last(theirs["att_out"])
    expected = _pair(theirs, "att_gexemplar", "att_gquery")
    yield "its gradient to both maps", to_maps, expected
    for module in ("attention/asking", "attention/keys", "attention/gate"):
        name = NAMES[module]
        found = slopes["attention"][module.rpartition("/")[2]]["kernel"]
        yield f"to {name}", found, _laid_out(module, theirs[f"att_g_{name}"])


def _recurrence(theirs: Mapping[str, np.ndarray]):
    graph, params = GroupGraph(size=3, channels=20), _graph(theirs)

    def updated(params, message, state):
        return graph.apply({"params": params}, method=lambda bound: bound.gru(message, state))

    given = (channels_last(theirs[f"gru_{name}"]) for name in ("input", "state"))
    ours, back = jax.vjp(jax.jit(updated), params, *given)
    slopes, to_message, to_state = back(channels_last(theirs["gru_gout"]))
    yield "state", ours, channels_last(theirs["gru_out"])
    yield "its gradient to the message", to_message, channels_last(theirs["gru_ginput"])
    yield "to the state", to_state, channels_last(theirs["gru_gstate"])
    for module in ("gru/reset", "gru/update", "gru/candidate"):
        _, name = NAMES[module].split(".")
        found = slopes["gru"][module.rpartition("/")[2]]["kernel"]
        yield f"to {name}", found, _laid_out(module, theirs[f"gru_g_{name}"])


def _dropout(theirs: Mapping[str, np.ndarray]):
    for case in range(4):
        draw, rate, height = (theirs[f"gdl_{case}_{name}"] for name in ("draw", "rate", "th"))
        x = channels_last(theirs[f"gdl_{case}_x"])
        draws = jnp.full(len(x), draw, jnp.float32)  # one for the whole call

        def dropped(x, draws=draws, rate=float(rate), height=float(height)):
            return graph_dropout(x, draws, rate=rate, height=height)

        ours, back = jax.vjp(dropped, x)
        yield f"dropout, case {case}", ours, channels_last(theirs[f"gdl_{case}_y"])
        slope = back(channels_last(theirs[f"gdl_{case}_gy"]))[0]
        yield f"its gradient, case {case}", slope, channels_last(theirs[f"gdl_{case}_gx"])


def _readout(theirs: Mapping[str, np.ndarray]):
    """Their axes (round,) image, batch of one, channels; ours (round,) group, member."""
    graph, params = GroupGraph(size=3, channels=20), _graph(theirs)
    maps = channels_last(theirs["group_x"][:, 0])[None]
    draws = jnp.asarray(theirs["group_draws"])[:, None]

    @jax.jit
    def rounds(maps):
        states, made = maps, {"message": [], "gru_state": [], "state": []}
        for draw in draws:
            made["message"].append(graph.apply({"params": params}, states, method="message"))
            made["gru_state"].append(
                graph.apply(
                    {"params": params},
                    method=lambda bound, states=states: bound.gru(made["message"][-1], states),
                )
            )
            states = graph_dropout(made["gru_state"][-1], draw)
            made["state"].append(states)
        return {name: jnp.stack(arrays)[:, 0] for name, arrays in made.items()}

    made = rounds(maps)
    for name, title in (
        ("message", "messages"),
        ("gru_state", "states"),
        ("state", "after dropout"),
    ):
        yield f"group: {title}", made[name], np.moveaxis(theirs[f"group_{name}"][:, :, 0], 2, -1)

    labels = jnp.asarray(theirs["group_label"][:, 0])

    def total(params, maps):
        states = graph.apply({"params": params}, maps, None, draws)
        losses = group_losses(states[0], maps[0], labels)
        return sum(WEIGHTS[name] * loss for name, loss in losses.items()), states

    step = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    (loss, states), (slopes, to_maps) = step(params, maps)
    yield "group: class scores before", maps[0].mean((1, 2)), theirs["group_logit_pre"][:, 0]
    yield "group: class scores", states[0].mean((1, 2)), theirs["group_logit_post"][:, 0]
    yield "group: loss", loss, theirs["group_loss"]
    yield "group: gradient to the maps", to_maps[0], channels_last(theirs["group_gx"][:, 0])
    expected = traverse_util.flatten_dict(_graph(theirs, "group_g_{}"), sep="/")
    found = traverse_util.flatten_dict(slopes, sep="/")
    for path, slope in expected.items():
        yield f"group: to {path}", found[path], slope
