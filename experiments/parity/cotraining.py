"""Deep co-training's losses and one of its steps, held against the numbers of its
program.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import cases, channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.losses.agreement import agreement_loss, teaching_loss
from hfpl_jax.models.convolve import plain_convolution
from hfpl_jax.models.ocr_head import Scores
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.models.several_networks import NetworkPair
from hfpl_jax.training.objective import Batch, total_loss
from hfpl_jax.training.objectives.cotraining import CoTraining
from hfpl_jax.training.objectives.final import LABELLED, UNLABELLED

TOLERANCE = 1e-5


def check_losses(goldens: pathlib.Path) -> list[Check]:
    """cotraining_losses.npz: logits of several networks -> the divergence among them, that
    of the first from the second, and the gradients of both.
    """
    with np.load(goldens / "cotraining_losses.npz") as golden:
        found = cases(golden)
    checks = []
    for case, theirs in found.items():
        logits = jnp.moveaxis(jnp.asarray(theirs["logits"], jnp.float32), 2, -1)
        counted, teacher = jnp.ones(logits.shape[1:4], bool), jax.nn.softmax(logits[1])
        agreement = jax.value_and_grad(agreement_loss)(logits, counted)
        taught = jax.value_and_grad(teaching_loss)(logits[0], teacher, counted)
        pairs = {
            "JSD": (agreement[0], theirs["jsd"]),
            "JSD gradient": (agreement[1], np.moveaxis(theirs["grad_logits"], 2, -1)),
            "KL": (taught[0], theirs["kl"]),
            "KL gradient": (taught[1], channels_last(theirs["kl_grad_student"])),
        }
        checks += [
            Check("co-training", f"{name}, case {case}", relative_error(*pair), TOLERANCE)
            for name, pair in pairs.items()
        ]
    return checks


def _normalised(images: np.ndarray) -> jax.Array:
    return (channels_last(images) - IMAGENET_MEAN) / IMAGENET_STD


def check_step(goldens: pathlib.Path) -> list[Check]:
    """cotraining_adv.npz: two convolutions as networks, labelled and unlabelled images in
    [0, 1] -> images that mislead, every term and the total, the gradients of the
    diversity.
    """
    with np.load(goldens / "cotraining_adv.npz") as golden:
        theirs = dict(golden)
    labelled, unlabelled = (
        [_batch(theirs[f"img{index}"], theirs[f"gt{index}"][:, 0]) for index in (0, 1)],
        _batch(theirs["unl"], None),
    )
    batch = labelled[0]._replace(beside={LABELLED: labelled[1], UNLABELLED: unlabelled})
    params = {
        name: (
            jnp.asarray(theirs[f"w{index}"].transpose(2, 3, 1, 0), jnp.float32),
            jnp.asarray(theirs[f"b{index}"], jnp.float32),
        )
        for index, name in enumerate(NetworkPair.members)
    }
    objective = CoTraining(epsilon=float(theirs["eps"]))

    def predicted(params):
        misled = []

        def apply(
            images,
            *,
            method,
            name,
            train=False,
            auxiliary=False,
            detached=False,
            statistics=True,
        ):
            assert method == "of"
            if not statistics:
                misled.append(images)
            own = jax.lax.stop_gradient(params[name]) if detached else params[name]
            colours = images * IMAGENET_STD + IMAGENET_MEAN
            logits = plain_convolution(colours, own[0], 1, 1) + own[1]
            return Scores(logits, None) if auxiliary else logits

        prediction = objective.predict(apply, batch, jax.random.key(0))
        return prediction.losses["diversity"], (prediction, misled)

    (_, (prediction, misled)), slopes = jax.jit(jax.value_and_grad(predicted, has_aux=True))(params)
    losses = prediction.losses
    pairs = {
        "supervised": (losses["supervised"], theirs["sup"].sum()),
        "agreement": (losses["agreement"], theirs["jsd"]),
        "diversity": (losses["diversity"], theirs["adv_loss"]),
        "total": (total_loss(prediction), theirs["total_cot0.5_adv0.05"]),
    }
    for index, name in enumerate(NetworkPair.members):
        kernel, bias = slopes[name]
        seen = misled[2 * index + 1] * IMAGENET_STD + IMAGENET_MEAN
        pairs |= {
            f"misleads {index}": (seen, channels_last(theirs[f"unl_adv{index}"])),
            f"grad_w{index}": (kernel.transpose(3, 2, 0, 1), theirs[f"grad_w{index}"]),
            f"grad_b{index}": (bias, theirs[f"grad_b{index}"]),
        }
    return [
        Check("co-training step", name, relative_error(*pair), TOLERANCE)
        for name, pair in pairs.items()
    ]


def _batch(images: np.ndarray, labels: np.ndarray | None) -> Batch:
    """At the end of a training, where both weights are at their largest."""
    normalised = _normalised(images)
    valid = jnp.ones(normalised.shape[:3], bool)
    known = jnp.zeros((len(images), 0)) if labels is None else jnp.asarray(labels, jnp.uint8)
    return Batch(normalised, known, valid, jnp.float32(1.0))
