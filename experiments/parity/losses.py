"""The losses held against the published program's values and gradients, one function a
file of its numbers.

Its arrays are N C H W, and have a background channel where ours do not.
"""

import math
import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import cases, channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.losses import feature_similarity_loss, sampled_loss, sampling_weights
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.seam import WEIGHTS, Seam, seam_losses
from hfpl_jax.training.objective import Batch, Prediction, total_loss

TOLERANCE = 1e-5


def check_feature_similarity(golden: Mapping[str, np.ndarray]) -> list[Check]:
    """fsl.npz: colours x and scores y -> loss and its gradient to y."""
    checks = []
    for case, theirs in cases(golden).items():
        mu, sigma = float(theirs["mu"]), float(theirs["sigma"])
        options = {"mu": mu, "sigma": None if math.isnan(sigma) else sigma}

        @jax.jit
        @jax.value_and_grad
        def value_and_slope(scores, images, options=options):
            return feature_similarity_loss(images, scores, **options)

        value, slope = value_and_slope(channels_last(theirs["y"]), channels_last(theirs["x"]))
        errors = {
            "loss": relative_error(value, theirs["loss"]),
            "gradient": relative_error(np.moveaxis(slope, -1, 1), theirs["grad_y"]),
        }
        checks += [
            Check("feature similarity loss", f"{name}, case {case}", error, TOLERANCE)
            for name, error in errors.items()
        ]
    return checks


def check_importance_sampling(golden: Mapping[str, np.ndarray]) -> list[Check]:
    """isl.npz: logits, labels and drawn pixels -> loss, its gradient, and the
    distribution the pixels were drawn from.
    """
    checks = []
    for case, theirs in cases(golden).items():
        logits, labels = (
            channels_last(theirs["logits"]),
            jnp.asarray(theirs["labels"], jnp.float32),
        )
        pixels = jnp.asarray(theirs["indices"], jnp.int32)
        value, slope = jax.jit(jax.value_and_grad(sampled_loss))(logits, labels, pixels)
        weights = np.asarray(sampling_weights(logits), np.float64)
        distribution = (weights / weights.sum(-1, keepdims=True)).reshape(theirs["pmf"].shape)
        errors = {
            "loss": relative_error(value, theirs["loss"]),
            "gradient": relative_error(np.moveaxis(slope, -1, 1), theirs["grad"]),
            "distribution": relative_error(distribution, theirs["pmf"]),
        }
        checks += [
            Check("importance sampling loss", f"{name}, case {case}", error, TOLERANCE)
            for name, error in errors.items()
        ]
    return checks


def check_seam(golden: Mapping[str, np.ndarray]) -> list[Check]:
    """seam_losses.npz: image and maps of two views -> every loss term of SEAM with
    the losses of HFPL, and the gradients of the total.

    The logits that HFPL works on are an array of their own there and not those under
    cam1.
    """
    maps = {
        name: channels_last(golden[name])
        for name in ("cam1", "cam_rv1", "logits1", "cam2", "cam_rv2")
    }
    images = channels_last(golden["image"])
    labels, valid = jnp.asarray(golden["labels"], jnp.float32), jnp.ones(images.shape[:3], bool)
    batch = Batch(images, labels, valid, jnp.zeros(()))
    pixels = jnp.asarray(golden["indices"], jnp.int32)
    isl_weight = 0.2
    method = Hfpl(
        Seam(),
        isl_weight=isl_weight,
        fsl_weight=1.0,
        sample=lambda key, logits, *, num_samples: pixels,
    )

    def total(maps):
        # The published network has a channel for the background in its CAMs too, which
        # no loss reads.
        foreground = {name: maps[name][..., 1:] for name in ("cam1", "cam2", "logits1")}
        plain = seam_losses(
            foreground["cam1"], maps["cam_rv1"], foreground["cam2"], maps["cam_rv2"], batch.labels
        )
        prediction = Prediction(foreground["logits1"], plain, WEIGHTS)
        combined = method.add(prediction, batch, jax.random.key(0))
        weighted = {name: combined.weights[name] * loss for name, loss in combined.losses.items()}
        return total_loss(combined), (plain, combined.losses, weighted)

    (value, (plain, combined, weighted)), slopes = jax.jit(jax.value_and_grad(total, has_aux=True))(
        maps
    )
    ours = {
        "loss_cls_gap1": plain["classification"],
        "loss_cls_gap2": plain["classification_view2"],
        "loss_cls_is": (combined["classification"] - (1.0 - isl_weight) * plain["classification"])
        / isl_weight,
        "loss_cls": weighted["classification"]
        + weighted["classification_view2"]
        + weighted["min_pooling"],
        "loss_er": weighted["equivariance"],
        "loss_ecr": weighted["equivariant_cross"],
        "loss_fs": weighted["feature_similarity"],
        "loss_loss": value,
    }
    theirs = {name: golden[name] for name in ours}
    ours["loss_rvmin1 + loss_rvmin2"] = plain["min_pooling"]
    theirs["loss_rvmin1 + loss_rvmin2"] = golden["loss_rvmin1"] + golden["loss_rvmin2"]
    for name, slope in slopes.items():
        ours[f"grad_{name}"], theirs[f"grad_{name}"] = (
            np.moveaxis(np.asarray(slope), -1, 1),
            golden[f"grad_{name}"],
        )
    return [
        Check("SEAM and HFPL losses", name, relative_error(value, theirs[name]), TOLERANCE)
        for name, value in ours.items()
    ]


def of_file(
    check: Callable[[Mapping[str, np.ndarray]], list[Check]], name: str
) -> Callable[[pathlib.Path], list[Check]]:
    """The check on the file of this name in a folder."""

    def on_folder(goldens: pathlib.Path) -> list[Check]:
        with np.load(goldens / name) as golden:
            return check(dict(golden))

    return on_folder
