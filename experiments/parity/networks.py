"""The networks with given weights, held against the published program's outputs; and
its way from an MXNet file to PyTorch's names.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.check import Check, relative_error
from experiments.parity.golden_weights import golden_weights
from hfpl_jax.losses.affinity import pair_affinities
from hfpl_jax.models.affinity_network import AffinityNetwork
from hfpl_jax.models.backbones.resnet38 import MXNET, TORCH, ResNet38
from hfpl_jax.models.pretrained import place_network
from hfpl_jax.models.seam_network import SeamNetwork
from hfpl_jax.models.segmentation_network import SegmentationNetwork
from hfpl_jax.models.weights.mxnet_params import read_mxnet_params
from hfpl_jax.resize import resize_bilinear

TOLERANCE = 1e-4


def _abstract(network, images):
    return jax.eval_shape(network.init, jax.random.key(0), images)


def _run(network, names: pathlib.Path, x: np.ndarray):
    """The network's output on N C H W images, with the weights that the names
    determine.
    """
    images = jnp.asarray(x.transpose(0, 2, 3, 1))
    variables = place_network(golden_weights(names), _abstract(network, images), network.backbone)
    with jax.default_matmul_precision("highest"):
        return jax.jit(network.apply)(variables, images)


def _channels_first(maps) -> np.ndarray:
    return np.asarray(maps).transpose(0, 3, 1, 2)


def check_seam_network(goldens: pathlib.Path) -> list[Check]:
    """resnet38_seam.npz: CAM logits, both maps at the image's size, and the features.
    Channel 0 of its logits is read by nobody.
    """
    with np.load(goldens / "resnet38_seam.npz") as golden:
        theirs = dict(golden)
    x = theirs["x"]
    output = _run(
        SeamNetwork(ResNet38(), theirs["logits"].shape[1] - 1),
        goldens / "resnet38_seam_names.json",
        x,
    )
    enlarged = {
        name: _channels_first(resize_bilinear(maps, x.shape[2:], align_corners=True))
        for name, maps in (("cam", output.logits), ("cam_rv", output.corrected[..., 1:]))
    }
    ours = {
        "logits": _channels_first(output.logits),
        **enlarged,
        "conv4": _channels_first(output.features["conv4"]),
        "conv5": _channels_first(output.features["conv5"]),
        "conv6_mean": np.asarray(output.features["conv6"]).mean((1, 2)),
    }
    expected = {
        name: theirs[name][:, 1:] if name in ("logits", "cam", "cam_rv") else theirs[name]
        for name in ours
    }
    return [
        Check("SEAM network", name, relative_error(value, expected[name]), TOLERANCE)
        for name, value in ours.items()
    ]


def affinity_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest relative error of the float32 affinities `theirs` above 0, beyond one
    step of the smallest numbers, to which float32 rounds below 1e-38.
    """
    above = theirs > 0.0
    theirs = np.asarray(theirs[above], np.float64)
    step = float(np.finfo(np.float32).smallest_subnormal)
    beyond = np.abs(ours[above] - theirs) - step
    return float(np.max(np.maximum(beyond, 0.0) / theirs, initial=0.0))


def check_affinity_network(goldens: pathlib.Path) -> list[Check]:
    """affinity.npz: the affinities exp(-distance) of all pairs, and those above 0 by
    themselves.

    Random weights put the features far apart: most affinities are rounded to 0, and the
    rest may lie near 1e-38, where a distance is about 88. A distance that is off by a
    share of 1e-4 there makes an affinity that is off by 1e-2. The features are scaled
    down for ours, as exp(-d / s) is far from 0.
    """
    with np.load(goldens / "affinity.npz") as golden:
        x, theirs = golden["x"], golden["aff_pairs"]
    features = _run(AffinityNetwork(ResNet38()), goldens / "resnet38_aff_names.json", x)
    scale = 100.0
    ours = np.asarray(pair_affinities(features / scale), np.float64) ** scale
    return [
        # An affinity of a pixel with itself is 1: that is the scale.
        Check(
            "affinity network", "pair affinities", float(np.max(np.abs(ours - theirs))), TOLERANCE
        ),
        Check("affinity network", "those above 0", affinity_error(ours, theirs), 1e-2),
    ]


def check_segmentation_network(goldens: pathlib.Path) -> list[Check]:
    """deeplabv1.npz: every second logit of the final network, enlarged to the image's
    size.
    """
    with np.load(goldens / "deeplabv1.npz") as golden:
        x, logits = golden["x"], golden["logits"]
    ours = _run(
        SegmentationNetwork(ResNet38(), logits.shape[1] - 1), goldens / "deeplabv1_names.json", x
    )
    enlarged = _channels_first(resize_bilinear(ours, x.shape[2:], align_corners=True))[
        :, :, ::2, ::2
    ]
    return [Check("segmentation network", "logits", relative_error(enlarged, logits), TOLERANCE)]


def check_mxnet(goldens: pathlib.Path) -> list[Check]:
    """resnet38_tiny.params: every array of the network, found under MXNet's name, is
    the one PyTorch's program has under its own.
    """
    arrays = read_mxnet_params(goldens / "resnet38_tiny.params")
    with np.load(goldens / "resnet38_tiny_expected.npz") as golden:
        expected = dict(golden)
    variables = _abstract(ResNet38(width=1), jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32))
    paths = [
        "/".join(key.key for key in path[1:])
        for path, _ in jax.tree_util.tree_leaves_with_path(variables)
    ]
    keys = {TORCH.key(path): MXNET.key(path) for path in paths}
    counted = {
        name: array for name, array in expected.items() if not name.endswith("num_batches_tracked")
    }
    missing = sorted(name for name in counted if keys.get(name) not in arrays)
    error = max(
        (
            relative_error(arrays[keys[name]], array)
            for name, array in counted.items()
            if name not in missing
        ),
        default=0.0,
    )
    return [
        Check("MXNet file", "share of arrays not found", len(missing) / len(counted), 0.0),
        Check("MXNet file", "arrays", error, 0.0),
    ]
