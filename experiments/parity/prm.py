"""PRM held against the published program: peak stimulation with its gradient, the
responses of a convolution, the response maps of two networks, and instances.
"""

import pathlib
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.inference.instance_scores import (
    at_size,
    best_proposals,
    beyond_class,
    contours,
    proposal_scores,
    survivors,
)
from hfpl_jax.inference.peak_predictor import strong_peaks
from hfpl_jax.inference.peak_responses import peak_responses, responding_convolution
from hfpl_jax.losses.peak_stimulation import FILTERS, find_peaks, peak_mean
from hfpl_jax.models.cam_network import CamOutput
from hfpl_jax.models.convolution import BiasedConvolution, ConvBatchNorm, max_pool

TOLERANCE = 1e-5
OF_NETWORKS = 1e-4


def check_stimulation(goldens: pathlib.Path) -> list[Check]:
    """prm.npz: maps -> peaks, their mean and the gradient as released, also of enlarged
    maps. Where there is no peak the program's mean is NaN, ours 0.
    """
    with np.load(goldens / "prm.npz") as golden:
        theirs = dict(golden)
    checks = []
    options: dict[str, dict] = {}
    for case in range(int(theirs["stim_count"])):
        least = str(theirs[f"stim_{case}_filter"])
        options[f"stim_{case}"] = {
            "window": int(theirs[f"stim_{case}_win"]),
            "least": least if least in FILTERS else float(least),
        }
    for case in range(2):
        options[f"sub_{case}"] = {"enlarge": int(theirs[f"sub_{case}_factor"])}
    for name, chosen in options.items():
        maps = channels_last(theirs[f"{name}_x"])
        if "enlarge" not in chosen:
            found = np.argwhere(np.asarray(find_peaks(maps, **chosen)).transpose(0, 3, 1, 2))
            same = np.array_equal(found, theirs[f"{name}_peaks"])
            checks.append(Check("PRM", f"{name}, peaks", 0.0 if same else np.inf, TOLERANCE))
        means, back = jax.vjp(lambda maps, c=chosen: peak_mean(maps, undivided=True, **c), maps)
        expected = np.nan_to_num(theirs[f"{name}_agg"])
        slope = back(jnp.asarray(theirs[f"{name}_gagg"], jnp.float32))[0]
        for quantity, ours, golden in (
            ("means", means, expected),
            ("gradient", slope, channels_last(theirs[f"{name}_gx"])),
        ):
            error = relative_error(ours, golden)
            checks.append(Check("PRM", f"{name}, {quantity}", error, TOLERANCE))
    return checks


class _Plain(nn.Module):
    """The program's test of two 3x3 convolutions, the second of stride 2."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(BiasedConvolution(6, 3, name="0")(x, None))
        x = nn.relu(BiasedConvolution(8, 3, stride=2, name="2")(x, None))
        return CamOutput(BiasedConvolution(4, 1, name="4")(x, None), {})


class _Normalised(nn.Module):
    """That of a normalisation, one of whose scales is negative, and a pool."""

    @nn.compact
    def __call__(self, x):
        x, _ = ConvBatchNorm(6, 3, name="0")(x, None, True)
        x, _ = max_pool(nn.relu(x), None)
        x = nn.relu(BiasedConvolution(8, 3, name="4")(x, None))
        return CamOutput(BiasedConvolution(4, 1, name="6")(x, None), {})


def _variables(theirs: Mapping[str, np.ndarray], prefix: str) -> dict:
    """By the names of the modules above; "1" is the normalisation of "0"."""
    params: dict[str, dict] = {}
    stats: dict[str, dict] = {}
    leaves = {"running_mean": "mean", "running_var": "var", "bias": "bias", "weight": "scale"}
    for key, array in theirs.items():
        if key.startswith(prefix):
            layer, name = key.removeprefix(prefix).split(".")
            if layer == "1":
                place = stats if name.startswith("running") else params
                place.setdefault("0", {})[leaves[name]] = jnp.asarray(array, jnp.float32)
            else:
                kernel = name == "weight"
                turned = array.transpose(2, 3, 1, 0) if kernel else array
                leaf = "kernel" if kernel else "bias"
                params.setdefault(layer, {})[leaf] = jnp.asarray(turned, jnp.float32)
    return {"params": params, **({"batch_stats": stats} if stats else {})}


def check_responses(goldens: pathlib.Path) -> list[Check]:
    """prm.npz: inputs, kernels and responses of convolutions -> those of the inputs;
    images -> peaks and response maps. Where there the map is NaN everywhere, ours is 0.
    """
    with np.load(goldens / "prm.npz") as golden:
        theirs = dict(golden)
    checks = []
    for case in range(int(theirs["conv_count"])):
        x, w, cfg, gy = (theirs[f"conv_{case}_{name}"] for name in ("x", "w", "cfg", "gy"))
        stride, _, dilation, groups = map(int, cfg)
        lowest = jnp.full((1, 1, 1, 1), x.min(), jnp.float32)  # there, of all images
        kernel = jnp.asarray(w.transpose(2, 3, 1, 0), jnp.float32)

        def convolved(x, kernel=kernel, lowest=lowest, options=(stride, dilation), groups=groups):
            parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
            return jnp.concatenate(
                [responding_convolution(*part, lowest, *options) for part in parts], axis=-1
            )

        _, back = jax.vjp(convolved, channels_last(x))
        expected = channels_last(theirs[f"conv_{case}_gx"])
        error = relative_error(back(channels_last(gy))[0], expected)
        checks.append(Check("PRM", f"responses, case {case}", error, TOLERANCE))
    for name, network in (("plain", _Plain()), ("bn", _Normalised())):
        variables = _variables(theirs, f"net_{name}_w_")
        image = channels_last(theirs[f"net_{name}_x"])
        logits = np.asarray(network.apply(variables, image).logits)
        sure = np.asarray(peak_mean(logits)[0]) >= float(theirs[f"net_{name}_class_threshold"])
        peaks = strong_peaks(
            logits[0],
            np.asarray(find_peaks(logits)[0]),
            np.flatnonzero(sure),
            least=float(theirs[f"net_{name}_peak_threshold"]),
        )
        same = np.array_equal(peaks, theirs[f"net_{name}_peaks"][:, 1:])
        checks.append(Check("PRM", f"peaks, {name}", 0.0 if same else np.inf, TOLERANCE))
        for quantity, ours, expected in (
            ("class maps", logits, channels_last(theirs[f"net_{name}_crm"])),
            (
                "response maps",
                peak_responses(network, variables, image[0], jnp.asarray(peaks)),
                np.nan_to_num(theirs[f"net_{name}_prm"]),
            ),
        ):
            error = relative_error(ours, expected)
            checks.append(Check("PRM", f"{quantity}, {name}", error, OF_NETWORKS))
    return checks


def check_instances(goldens: pathlib.Path) -> list[Check]:
    """prm.npz: response maps, class maps and proposals -> where a class is not, contours,
    scores, the best proposals, and the instances with the maps of all their peaks.
    """
    with np.load(goldens / "prm.npz") as golden:
        theirs = {
            name.removeprefix("inst_"): golden[name] for name in golden if name.startswith("inst_")
        }
    factor, beta, alpha = map(float, theirs["param"])
    responses, regions = theirs["prm"], theirs["proposals"]
    labels = theirs["peaks"][:, 1]
    beyond = np.stack(
        [
            beyond_class(class_map, regions.shape[1:], factor=factor, eight_bits=True)
            for class_map in theirs["crm"][0]
        ]
    )
    raised = theirs["crm"][0] - theirs["crm"][0].min(axis=(1, 2), keepdims=True)
    eight_bits = (raised * (255 / raised.max(axis=(1, 2), keepdims=True)) + 0.5).astype(np.uint8)
    means = eight_bits.mean(axis=(1, 2), keepdims=True)
    scores = proposal_scores(responses, beyond[labels], regions, alpha=alpha, beta=beta)
    order, chosen = best_proposals(scores)
    place = survivors(regions[chosen])
    kept = np.unique(place)
    merged = np.zeros_like(responses)
    np.add.at(merged, place, responses[order])
    allowed = np.isfinite(theirs["score"])
    exact = {
        "beyond the class": (beyond, theirs["crm_resized"] < factor * means),
        "a larger proposal": (
            at_size(theirs["coarse"][None] > 0, regions.shape[1:])[0],
            regions[-1],
        ),
        "contours": (contours(regions), theirs["contour"]),
        "proposals allowed": (np.isfinite(scores), allowed),
        "classes before NMS": (labels[order], theirs["before_nms_class"]),
        "regions before NMS": (regions[chosen], theirs["before_nms_mask"]),
        "classes": (labels[order[kept]], theirs["class"]),
        "regions": (regions[chosen[kept]], theirs["mask"]),
    }
    close = {
        "scores": (scores[allowed], theirs["score"][allowed]),
        "scores before NMS": (scores[order, chosen], theirs["before_nms_score"]),
        "merged response maps": (merged[kept], theirs["out_prm"]),
    }
    return [
        *(
            Check("PRM", name, 0.0 if np.array_equal(*both) else np.inf, TOLERANCE)
            for name, both in exact.items()
        ),
        *(Check("PRM", name, relative_error(*both), TOLERANCE) for name, both in close.items()),
    ]
