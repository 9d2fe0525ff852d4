"""The locally adaptive loss, held against numbers of our reading of the paper: no program
of it was found.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import cases
from experiments.parity.check import Check, relative_error
from hfpl_jax.losses import locally_adaptive_loss
from hfpl_jax.losses.lal import center_losses, per_class_losses

TOLERANCE = 1e-5


def check_lal(golden: Mapping[str, np.ndarray]) -> list[Check]:
    """lal_ours.npz, channels last: logits, labels -> the losses of the windows, their
    mean of power k and its gradient.
    """
    checks = []
    for case, theirs in cases(golden).items():
        logits, labels = jnp.asarray(theirs["logits"], jnp.float32), theirs["labels"]
        labels = labels.astype(np.uint8)
        mode, window, stride = str(theirs["mode"]), int(theirs["n"]), int(theirs["stride"])
        around = {"window": window, "stride": stride, "sigma": float(theirs["sigma"])}
        made = (
            center_losses(logits, labels, **around)
            if mode == "center"
            else per_class_losses(logits, labels, window=window)
        )
        options = {"mode": mode, **around, "k": float(theirs["k"])}
        value, slope = jax.jit(
            jax.value_and_grad(
                lambda z, labels=labels, options=options: locally_adaptive_loss(
                    z, labels, **options
                )
            )
        )(logits)
        found = np.asarray(made.losses)[np.asarray(made.counted)]
        errors = {
            "windows": relative_error(found, theirs["window_losses"]),
            "loss": relative_error(value, theirs["loss"]),
            "gradient": relative_error(slope, theirs["grad"]),
        }
        checks += [
            Check("LAL", f"{name}, case {case}", error, TOLERANCE) for name, error in errors.items()
        ]
    return checks
