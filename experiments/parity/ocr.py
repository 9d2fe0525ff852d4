"""The OCR head held against the published program: its logits, gradients to the
features, a step with the batch's statistics, gathering and distributing alone, the loss.
"""

import functools
import pathlib
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from experiments.parity.golden_weights import vit_weights
from hfpl_jax.models.ocr_head import ObjectContext, ObjectContextualHead, soft_regions
from hfpl_jax.training.objectives.pixel_losses import CrossEntropy
from hfpl_jax.training.objectives.segmentation import AUXILIARY

TOLERANCE = 1e-5
LAYERS = {
    "coarse1": "aux_head.{0,1}",
    "coarse": "aux_head.3",
    "pixels": "conv3x3_ocr.{0,1}",
    "context/query1": "ocr_distri_head.object_context_block.f_pixel.{0,1.0}",
    "context/query2": "ocr_distri_head.object_context_block.f_pixel.{2,3.0}",
    "context/key1": "ocr_distri_head.object_context_block.f_object.{0,1.0}",
    "context/key2": "ocr_distri_head.object_context_block.f_object.{2,3.0}",
    "context/value": "ocr_distri_head.object_context_block.f_down.{0,1.0}",
    "context/up": "ocr_distri_head.object_context_block.f_up.{0,1.0}",
    "context/fuse": "ocr_distri_head.conv_bn_dropout.{0,1.0}",
    "classifier": "cls_head",
}
"""Our layers and theirs; in braces a convolution and its batch normalisation."""


def check_ocr(goldens: pathlib.Path) -> list[Check]:
    with np.load(goldens / "ocr.npz") as golden:
        theirs = dict(golden)
    weights = vit_weights(goldens / "ocr_head_names.json")
    rows = [*_head(theirs, weights), *_modules(theirs, weights), *_loss(theirs)]
    return [Check("OCR head", name, relative_error(*pair), TOLERANCE) for name, *pair in rows]


def head_variables(weights: Mapping[str, np.ndarray]) -> dict:
    """The bias of a convolution before a batch normalisation goes into its mean."""
    params, statistics = {}, {}
    for ours, names in LAYERS.items():
        before, _, pair = names.partition("{")
        if not pair:
            params[f"{ours}/kernel"] = weights[f"{names}.weight"][:, :, 0, 0].T
            params[f"{ours}/bias"] = weights[f"{names}.bias"]
            continue
        convolution, norm = (f"{before}{name}" for name in pair.removesuffix("}").split(","))
        params[f"{ours}/kernel"] = weights[f"{convolution}.weight"].transpose(2, 3, 1, 0)
        params[f"{ours}/scale"] = weights[f"{norm}.weight"]
        params[f"{ours}/bias"] = weights[f"{norm}.bias"]
        bias = weights.get(f"{convolution}.bias", 0.0)
        statistics[f"{ours}/mean"] = weights[f"{norm}.running_mean"] - bias
        statistics[f"{ours}/var"] = weights[f"{norm}.running_var"]
    unflat = functools.partial(traverse_util.unflatten_dict, sep="/")
    return jax.tree.map(jnp.asarray, {"params": unflat(params), "batch_stats": unflat(statistics)})


def _head(theirs: Mapping, weights: Mapping) -> Iterator[tuple]:
    classes, _, channels, keys, *_ = theirs["config"].tolist()
    head = ObjectContextualHead(classes, 0.1, channels, keys)
    variables, features = head_variables(weights), channels_last(theirs["features"])
    scores = jax.jit(lambda x: head.apply(variables, x, None, True, True))(features)
    yield "coarse logits", scores.auxiliary, channels_last(theirs["coarse_logits"])
    yield "logits", scores.logits, channels_last(theirs["logits"])

    def weighted(x, share):
        scores = head.apply(variables, x, None, True, True)
        main = jnp.sum(scores.logits * channels_last(theirs["grad_logits"]))
        return main + share * jnp.sum(scores.auxiliary * channels_last(theirs["grad_coarse"]))

    slope = jax.jit(jax.grad(weighted))
    for share, name in ((0.0, "grad_features"), (AUXILIARY, "grad_features_both")):
        expected = channels_last(theirs[name])
        yield name, slope(features, share), expected

    without_dropout = head.clone(dropout=0.0)
    scores, updated = jax.jit(
        lambda x: without_dropout.apply(variables, x, None, False, False, mutable="batch_stats")
    )(features)
    coarse = channels_last(theirs["train_coarse_logits"])
    yield "training, coarse logits", scores.auxiliary, coarse
    yield "training, logits", scores.logits, channels_last(theirs["train_logits"])
    stored, bias = updated["batch_stats"]["pixels"], weights["conv3x3_ocr.0.bias"]
    mean, var = (theirs[f"train_running_{name}_conv3x3_ocr"] for name in ("mean", "var"))
    yield "training, mean", stored["mean"] + bias, mean
    yield "training, variance", stored["var"], var


def _modules(theirs: Mapping, weights: Mapping) -> Iterator[tuple]:
    """Gathering and distributing alone; a scale of 2 is nowhere used."""
    _, _, channels, keys, *_ = theirs["config"].tolist()
    context = ObjectContext(channels, keys, 0.1)
    variables = {name: part["context"] for name, part in head_variables(weights).items()}

    def distributed(pixels, coarse):
        regions = soft_regions(pixels, coarse)
        found = context.apply(variables, pixels, regions, True)
        return jnp.sum(found * channels_last(theirs["m1_grad_out"])), (regions, found)

    of_both = jax.value_and_grad(distributed, argnums=(0, 1), has_aux=True)
    inputs = (channels_last(theirs[f"m_{name}"]) for name in ("features", "coarse"))
    (_, (regions, found)), slopes = jax.jit(of_both)(*inputs)
    yield "regions", regions, channels_last(theirs["m1_proxy"])[:, :, 0]
    yield "distributed", found, channels_last(theirs["m1_out"])
    for slope, name in zip(slopes, ("features", "coarse"), strict=True):
        expected = channels_last(theirs[f"m1_grad_{name}"])
        yield f"distributed, gradient to {name}", slope, expected


def _loss(theirs: Mapping) -> Iterator[tuple]:
    loss, labels = CrossEntropy(), jnp.asarray(theirs["loss_labels"])

    def total(logits, coarse):
        return loss.value(logits, labels) + AUXILIARY * loss.value(coarse, labels)

    names = ("logits", "coarse")
    inputs = (channels_last(theirs[f"loss_{name}"]) for name in names)
    value, slopes = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(*inputs)
    yield "loss", value, theirs["loss_ce"]
    for slope, name in zip(slopes, names, strict=True):
        expected = channels_last(theirs[f"loss_ce_grad_{name}"])
        yield f"loss, gradient to {name}", slope, expected
