"""AMDIM's loss, and prototypes of few examples, held against the published programs."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import cases, channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.losses.contrastive_estimation import multiscale_losses
from hfpl_jax.losses.few_shot import mean_prototypes, prototype_logits, prototype_loss

TOLERANCE = 1e-5
SIZES = {"whole": "r1", "five": "r5", "seven": "r7"}
TERMS = ("one_to_five", "one_to_seven", "five_to_five", "regulariser")
"""In the order of the recorded ones."""


def check_amdim(goldens: pathlib.Path) -> list[Check]:
    """amdim_nce.npz: features of two views and drawn positions -> the four terms, their
    sum, and its gradients to the features.
    """
    with np.load(goldens / "amdim_nce.npz") as arrays:
        recorded = cases(arrays)
    checks = []
    for case, golden in recorded.items():
        maps = {
            name: jnp.stack([channels_last(golden[f"{size}_x{view}"]) for view in (1, 2)])
            for name, size in SIZES.items()
        }
        places = jnp.stack([jnp.asarray(golden[f"idx{view}"], jnp.int32) for view in (1, 2)])
        clip = float(golden["tclip"])

        def total(maps, places=places, clip=clip):
            whole = maps["whole"][:, :, 0, 0]
            losses = multiscale_losses(whole, maps["five"], maps["seven"], places, clip=clip)
            return sum(losses.values()), losses

        (loss, losses), gradients = jax.value_and_grad(total, has_aux=True)(maps)
        found = {"losses": np.array([losses[name] for name in TERMS]), "total": loss}
        for name, size in SIZES.items():
            for view in (1, 2):
                found[f"grad_{size}_x{view}"] = np.moveaxis(gradients[name][view - 1], -1, 1)
        checks += [
            Check(
                "AMDIM loss",
                f"{name}, case {case}",
                relative_error(array, golden[name]),
                TOLERANCE,
            )
            for name, array in found.items()
        ]
    return checks


def check_prototypes(goldens: pathlib.Path) -> list[Check]:
    """protonet.npz: features of examples and queries, shot by shot -> logits, loss and
    its gradients.
    """
    with np.load(goldens / "protonet.npz") as arrays:
        golden = dict(arrays)
    ways, temperature = int(golden["way"]), float(golden["temperature"])
    classes = jnp.arange(len(golden["support"])) % ways  # row = shot * ways + class
    labels = jnp.asarray(golden["labels"], jnp.int32)

    def total(support, query):
        prototypes = mean_prototypes(support, classes, ways)
        logits = prototype_logits(query, prototypes, temperature=temperature)
        return prototype_loss(logits, labels), logits

    features = [jnp.asarray(golden[name], jnp.float32) for name in ("support", "query")]
    (loss, logits), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(*features)
    found = {
        "logits": logits,
        "loss": loss,
        "grad_support": gradients[0],
        "grad_query": gradients[1],
    }
    return [
        Check("prototypes", name, relative_error(array, golden[name]), TOLERANCE)
        for name, array in found.items()
    ]
