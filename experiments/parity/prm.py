"""PRM held against the published program: peak stimulation with its gradient."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.losses.peak_stimulation import FILTERS, find_peaks, peak_mean

TOLERANCE = 1e-5


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
