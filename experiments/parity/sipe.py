"""SIPE's training step and its CAM inference, held against the published program: the
method's own functions and its network, around a backbone that returns recorded
features.
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import cases, channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.losses import (
    attention,
    image_specific_cam,
    presence,
    seed_prototypes,
    structure_seeds,
)
from hfpl_jax.masks import label_map
from hfpl_jax.methods.sipe import Sipe, merged_maps, nearest
from hfpl_jax.models.sipe_network import SipeNetwork
from hfpl_jax.training.objective import Batch, total_loss

TOLERANCE = 1e-5
STRIDE = 16
"""Of the published networks."""

_LAYERS = ("x1", "x2", "x3", "x4")


class _Recorded(nn.Module):
    """Its features are its parameters, so that gradients to them can be taken."""

    features: Mapping[str, tuple[int, ...]]
    head_feature: ClassVar[str] = "x4"
    strides: ClassVar[dict[str, int]] = {"x1": 4, "x2": 8, "x3": STRIDE, "x4": STRIDE}

    @nn.compact
    def __call__(self, images, sizes, use_running_average, deterministic):
        zeros = nn.initializers.zeros
        return {name: self.param(name, zeros, shape) for name, shape in self.features.items()}


def _kernel(array: np.ndarray) -> jax.Array:
    """Of a 1x1 convolution, [out, in, 1, 1]."""
    return jnp.asarray(array[:, :, 0, 0].T, jnp.float32)


def _network(
    theirs: Mapping[str, np.ndarray], features: Mapping[str, np.ndarray]
) -> tuple[SipeNetwork, dict]:
    """A network whose backbone returns these features, and its parameters."""
    recorded = {name: channels_last(x) for name, x in features.items()}
    params = {
        "backbone": recorded,
        "head": {"kernel": _kernel(theirs["classifier"])},
        **{f"side_{name}": {"kernel": _kernel(theirs[f"side{name[1:]}"])} for name in _LAYERS},
    }
    backbone = _Recorded({name: x.shape for name, x in recorded.items()})
    widths = tuple(theirs[f"side{name[1:]}"].shape[0] for name in _LAYERS)
    return SipeNetwork(backbone, theirs["classifier"].shape[0], sides=widths), params


def check_step(goldens: pathlib.Path) -> list[Check]:
    """sipe.npz: features, kernels, labels and the mask of the padding -> maps, seeds,
    prototypes, both loss terms, and the gradients of their sum.
    """
    checks = []
    with np.load(goldens / "sipe.npz") as golden:
        recorded = cases(golden)
    for case, theirs in recorded.items():
        network, params = _network(theirs, {name: theirs[name] for name in _LAYERS})
        valid, labels = jnp.asarray(theirs["valid_mask"][:, 0]), jnp.asarray(theirs["label"])
        batch = Batch(jnp.zeros((*valid.shape, 3)), labels, valid, jnp.zeros(()))

        @jax.jit
        def step(params, share, network=network, batch=batch):
            """Gradients of share * CLS + GSC, and the terms."""

            def total(params):
                apply = functools.partial(network.apply, {"params": params})
                prediction = Sipe().predict(apply, batch, jax.random.key(0))
                weights = {**prediction.weights, "classification": share}
                return total_loss(prediction._replace(weights=weights)), prediction.losses

            return jax.grad(total, has_aux=True)(params)

        @jax.jit
        def parts(params, network=network, batch=batch):
            output = network.apply({"params": params}, batch.images)
            present = presence(batch.labels, nearest(batch.valid, output.logits.shape[1:3]))
            scores = attention(output.logits) * present
            seeds = structure_seeds(output.feature, scores) * present
            means = seed_prototypes(seeds, output.hierarchy)
            maps = {
                "valid_mask_lowres": present,
                "hie_fea": output.hierarchy,
                "norm_cam": scores,
                "seeds": seeds,
                "IS_cam": image_specific_cam(output.hierarchy, means),
            }
            return output.logits.mean((1, 2)), means, maps

        slopes, losses = step(params, 1.0)
        of_consistency, _ = step(params, 0.0)
        score, means, maps = parts(params)
        maps = {
            **maps,
            "grad_x4": slopes["backbone"]["x4"],
            "grad_gsc_x4": of_consistency["backbone"]["x4"],
        }
        pairs = {
            "score": (score, theirs["score"]),
            "prototypes": (means, theirs["prototypes"]),
            "loss_cls": (losses["classification"], theirs["loss_cls"]),
            "loss_gsc": (losses["consistency"], theirs["loss_gsc"]),
            "grad_classifier": (slopes["head"]["kernel"], _kernel(theirs["grad_classifier"])),
            **{
                f"grad_side{name[1:]}": (
                    slopes[f"side_{name}"]["kernel"],
                    _kernel(theirs[f"grad_side{name[1:]}"]),
                )
                for name in _LAYERS
            },
            **{
                f"grad_{name}": (slopes["backbone"][name], np.zeros(params["backbone"][name].shape))
                for name in _LAYERS[:3]
            },
            **{name: (ours, channels_last(theirs[name])) for name, ours in maps.items()},
        }
        checks += [
            Check("SIPE", f"{name}, case {case}", relative_error(*pair), TOLERANCE)
            for name, pair in pairs.items()
        ]
    return checks


def check_inference(goldens: pathlib.Path) -> list[Check]:
    """sipe_inference.npz: features of a photograph and its mirror image at two scales,
    and kernels -> image-specific CAMs of each scale, merged, and the label map.
    """
    checks, method = [], Sipe()
    with np.load(goldens / "sipe_inference.npz") as golden:
        recorded = cases(golden)
    for case, theirs in recorded.items():
        shown = np.concatenate([[1.0], theirs["label"]])
        classes = np.flatnonzero(theirs["label"])
        maps, scaled_sizes, pairs = [], [], {}
        for scale in ("s0", "s1"):
            cells = theirs[f"{scale}_x4"].shape[2:]
            scaled_sizes.append(tuple(STRIDE * side for side in cells))
            maps.append(np.asarray(_cams(theirs, scale, scaled_sizes[-1])))
            ours = np.roll(maps[-1], 1, axis=-1) * shown
            pairs[f"{scale}_IS_cam"] = (np.moveaxis(ours, -1, 0), theirs[f"{scale}_IS_cam"])
        size = tuple(map(int, theirs["size"]))
        merged, expected = merged_maps(maps, classes, size), theirs["merged"][shown > 0]
        pairs["merged"] = (np.moveaxis(merged, -1, 0), expected)
        made = label_map(
            method.merge(maps, classes, scaled_sizes, size, STRIDE),
            classes,
            threshold=method.threshold,
        )
        labels = np.concatenate([[0], classes + 1])[expected.argmax(axis=0)]
        pairs["label map"] = (made, labels)
        checks += [
            Check("SIPE", f"{name}, case {case}", relative_error(*pair), TOLERANCE)
            for name, pair in pairs.items()
        ]
    return checks


def _cams(theirs: Mapping[str, np.ndarray], scale: str, size: tuple[int, int]) -> jax.Array:
    """The method's maps of an image; the recorded features are its own and those of its
    mirror image.
    """
    network, params = _network(theirs, {name: theirs[f"{scale}_{name}"] for name in _LAYERS})

    @jax.jit
    def cams(params):
        apply = functools.partial(network.apply, {"params": params})
        image = jnp.zeros((1, *size, 3))
        return Sipe().maps(apply, image, jnp.asarray([size]), image).cams[0]

    return cams(params)
