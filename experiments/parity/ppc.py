"""PPC's contrast, and its loss terms with those of SEAM, held against the published
program: the method's own functions on recorded maps.
"""

import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import cases, channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.losses import class_prototypes, pixel_classes, prototype_scores
from hfpl_jax.methods.ppc import Ppc, contrast_losses
from hfpl_jax.methods.seam import View
from hfpl_jax.models.seam_network import SeamOutput
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.training.objective import Prediction, total_loss

TOLERANCE = 1e-5
VIEW2 = (128, 128)
KEY = jax.random.key(0)  # of draws, which are given
TERMS = {
    "loss_cross_nce": "cross_prototype",
    "loss_cross_nce2": "cross_cam",
    "loss_intra_nce": "intra_view",
}
"""The published terms of contrast, with their weight in them -> ours."""


def _both_views(golden: Mapping[str, np.ndarray], *names: str) -> dict[str, jax.Array]:
    """Maps of both views."""
    both = [f"{name}{view}" for name in names for view in (1, 2)]
    return {name: channels_last(golden[name]) for name in both}


def _given(golden: Mapping[str, np.ndarray]) -> dict[str, tuple[jax.Array, ...]]:
    """What was drawn, and the pixels that prototypes are made of: where scores are
    tied, as those of the background are, any would do.
    """
    b, _, h, w = golden["cam_rv2"].shape
    drawn = np.zeros((2, b * h * w), bool)
    view, _, pixel = golden["drawn"].T
    drawn[view - 1, pixel] = True
    return {
        "drawn": tuple(jnp.asarray(drawn.reshape(2, b, h, w))),
        "top_indices": tuple(jnp.asarray(golden[f"top_indices{view}"]) for view in (1, 2)),
    }


def _checks(
    piece: str, case: str, ours: Mapping[str, jax.Array], golden: Mapping[str, np.ndarray]
) -> list[Check]:
    """Of numbers that are called as there; gradients are channels last."""
    checks = []
    for name, array in ours.items():
        array = np.moveaxis(array, -1, 1) if name.startswith("grad_") else array
        error = relative_error(array, golden[name])
        checks.append(Check(piece, f"{name}, case {case}", error, TOLERANCE))
    return checks


def check_contrast(goldens: pathlib.Path) -> list[Check]:
    """ppc_contrast.npz: corrected maps and projected features of two views -> pseudo
    labels, prototypes, terms of contrast and their gradients to the features.
    """
    checks, weight = [], Ppc().contrast
    with np.load(goldens / "ppc_contrast.npz") as arrays:
        recorded = cases(arrays)
    for case, golden in recorded.items():
        labels, given = jnp.asarray(golden["labels"]), _given(golden)
        background, temperature = float(golden["bg_threshold"]), float(golden["temperature"])
        options = {"background": background, "temperature": temperature, **given}
        size = golden["cam_rv2"].shape[2:]

        def at_view2(maps, size=size):
            return tuple(resize_bilinear(each, size, align_corners=True) for each in maps.values())

        def terms(projected, corrected, at_view2=at_view2, labels=labels, options=options):
            maps = at_view2(projected), at_view2(corrected)
            losses = contrast_losses(*maps, labels, KEY, **options)
            losses = {name: weight * losses[term] for name, term in TERMS.items()}
            return losses, losses

        projected, corrected = (_both_views(golden, name) for name in ("f_proj", "cam_rv"))
        slopes, ours = jax.jit(jax.jacrev(terms, has_aux=True))(projected, corrected)
        ours["loss_nce"] = sum(ours.values())
        for name in projected:
            cross = slopes["loss_cross_nce"][name] + slopes["loss_cross_nce2"][name]
            ours |= {f"grad_cross_{name}": cross}
            ours |= {f"grad_intra_{name}": slopes["loss_intra_nce"][name]}
        views = zip(at_view2(projected), at_view2(corrected), given["top_indices"], strict=True)
        for view, (features, maps, top_indices) in enumerate(views, start=1):
            scores = prototype_scores(maps, background=background)
            ours[f"pseudo_label{view}"] = pixel_classes(scores, labels).reshape(-1)
            ours[f"prototypes{view}"] = class_prototypes(features, scores, top_indices)
        checks += _checks("PPC contrast", case, ours, golden)
    return checks


def check_step(goldens: pathlib.Path) -> list[Check]:
    """ppc_step.npz: what the network made of two views -> every loss term, and the
    gradients of the total.
    """
    checks, method = [], Ppc(peak_floor=0.0, corrected_floor=0.0)
    with np.load(goldens / "ppc_step.npz") as arrays:
        recorded = cases(arrays)
    for case, golden in recorded.items():
        labels, given = jnp.asarray(golden["labels"]), _given(golden)
        sizes = tuple(map(int, golden["image_size"])), VIEW2

        def total(maps, sizes=sizes, labels=labels, given=given):
            views = []
            for view, size in enumerate(sizes, start=1):
                # There, the CAMs too have a channel for the background, which no loss reads.
                cams, corrected = maps[f"cam{view}"][..., 1:], maps[f"cam_rv{view}"]
                views.append(View(size, SeamOutput(cams, corrected, {}, maps[f"f_proj{view}"])))
            losses, weights = method.terms(*views, labels, KEY, **given)
            weighted = {name: weights[name] * loss for name, loss in losses.items()}
            prediction = Prediction(views[0].output.logits, losses, weights)
            return total_loss(prediction), (losses, weighted)

        maps = _both_views(golden, "cam", "cam_rv", "f_proj")
        step = jax.jit(jax.value_and_grad(total, has_aux=True))
        (loss, (losses, weighted)), slopes = step(maps)
        classification = ("classification", "classification_view2", "min_pooling")
        ours = {
            "loss_cls1": losses["classification"],
            "loss_cls2": losses["classification_view2"],
            "loss_cls": sum(weighted[name] for name in classification),
            "loss_er": weighted["equivariance"],
            "loss_ecr": weighted["equivariant_cross"],
            **{name: weighted[term] for name, term in TERMS.items()},
            "loss": loss,
            **{f"grad_{name}": slope for name, slope in slopes.items()},
        }
        checks += _checks("PPC step", case, ours, golden)
    return checks
