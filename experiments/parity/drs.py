"""DRS held against the published program: its suppression, its classifier with given
weights, the loss of that and its localisation maps.
"""

import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from experiments.parity.golden_weights import golden_array
from hfpl_jax.losses import gap_loss
from hfpl_jax.losses.enlarged_error import enlarged_error, projected
from hfpl_jax.methods.drs import Drs, normalized_cams
from hfpl_jax.models.backbones.vgg16 import Vgg16
from hfpl_jax.models.drs_network import DrsNetwork
from hfpl_jax.models.pretrained import place_network
from hfpl_jax.models.suppression import Suppression, suppress
from hfpl_jax.refine.refinement_learning import strongest_alone
from hfpl_jax.resize import resize_bilinear

TOLERANCE = 1e-5
OF_NETWORKS = 1e-4
NETWORKS = {"learn": "learnable", "fixed": "0.55", "refine": ""}


def check_drs(goldens: pathlib.Path) -> list[Check]:
    """drs.npz, but for what is made with saliency."""
    with np.load(goldens / "drs.npz") as golden:
        theirs = dict(golden)
    return [
        Check("DRS", name, relative_error(ours, expected), tolerance)
        for part in (_suppression, _classification, _maps, _refinement, _networks)
        for name, ours, expected, tolerance in part(theirs)
    ]


def _suppression(theirs: Mapping[str, np.ndarray]):
    x, upstream = channels_last(theirs["learn_x"]), channels_last(theirs["learn_gy"])
    kernel = jnp.asarray(theirs["learn_w"].T, jnp.float32)
    y, back = jax.vjp(
        lambda x, kernel: Suppression(None).apply({"params": {"kernel": kernel}}, x), x, kernel
    )
    slopes = back(upstream)
    yield "learnable", y, channels_last(theirs["learn_y"]), TOLERANCE
    yield "gradient", slopes[0], channels_last(theirs["learn_gx"]), TOLERANCE
    yield "gradient to its weight", slopes[1], theirs["learn_gw"].T, TOLERANCE
    for case in range(3):
        arrays = {name: theirs[f"fixed_{case}_{name}"] for name in ("x", "y", "gy", "gx")}
        x, y, gy, gx = map(channels_last, arrays.values())
        ours, back = jax.vjp(lambda x, d=float(theirs[f"fixed_{case}_delta"]): suppress(x, d), x)
        yield f"fixed, case {case}", ours, y, TOLERANCE
        yield f"gradient, case {case}", back(gy)[0], gx, TOLERANCE


def _classification(theirs: Mapping[str, np.ndarray]):
    value, slope = jax.value_and_grad(gap_loss)(
        channels_last(theirs["cls_cam"]), jnp.asarray(theirs["cls_label"])
    )
    yield "loss", value, theirs["cls_loss"], TOLERANCE
    yield "gradient of the loss", slope, channels_last(theirs["cls_grad"]), TOLERANCE


def _maps(theirs: Mapping[str, np.ndarray]):
    size = tuple(map(int, theirs["cam_size"]))
    shown = np.flatnonzero(theirs["cam_label"][0])
    maps = [
        np.maximum(np.moveaxis(theirs[f"cam_{scale}_raw"][0], 0, -1), 0.0).astype(np.float32)
        for scale in range(3)
    ]
    for scale, of_scale in enumerate(maps):
        expected = np.moveaxis(theirs[f"cam_{scale}_norm"][0], 0, -1)[..., shown]
        yield f"CAM {scale}", normalized_cams(of_scale[..., shown], size), expected, TOLERANCE
    merged = Drs().merge(maps, shown, [size] * 3, size, 8)
    stored = np.trunc(255 * merged)
    # One step where a value lies beside a whole number.
    yield "localisation maps", stored, np.moveaxis(theirs["locmap"], 0, -1)[..., shown], 1 / 255


def _refinement(theirs: Mapping[str, np.ndarray]):
    maps = np.moveaxis(theirs["ref_att"], 0, -1).astype(np.float32) / 255
    target = strongest_alone(maps)
    expected = np.moveaxis(theirs["ref_target"], 0, -1)
    yield "what is learnt", target, expected, TOLERANCE
    logits = channels_last(theirs["ref_logits"])
    learnt = jnp.asarray(projected(target, logits.shape[1:3]))[None]
    energy = jnp.sum(jnp.square(target), keepdims=True)[0, 0]
    value, slope = jax.value_and_grad(enlarged_error)(logits, learnt, energy, target.shape[:2])
    yield "regression", value, theirs["ref_loss"], TOLERANCE
    yield "gradient of the regression", slope, channels_last(theirs["ref_grad"]), TOLERANCE


def _networks(theirs: Mapping[str, np.ndarray]):
    for name, suppression in NETWORKS.items():
        shapes = (line.split() for line in theirs[f"net_{name}_names"])
        weights = {
            key: golden_array(key, tuple(map(int, shape.split(",")))) for key, shape in shapes
        }
        network = DrsNetwork(Vgg16(suppression=suppression), 20)
        images = channels_last(theirs[f"net_{name}_x"])
        shaped = jax.eval_shape(network.init, jax.random.key(0), images)
        variables = place_network(weights, shaped, network.backbone)
        with jax.default_matmul_precision("highest"):
            logits = jax.jit(network.apply)(variables, images).logits
        yield f"network, {name}", logits, channels_last(theirs[f"net_{name}_raw"]), OF_NETWORKS
        if name == "refine":
            up = resize_bilinear(logits, images.shape[1:3], align_corners=True)[:, ::4, ::4]
            yield "enlarged", up, channels_last(theirs["net_refine_up"]), OF_NETWORKS
