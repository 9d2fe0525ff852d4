"""The dense CRF against pydensecrf, which the published program calls: 10 iterations on
score maps with alpha 1 and 24.
"""

import pathlib

import numpy as np

from experiments.parity.check import Check
from hfpl_jax.refine import PUBLISHED_CRF, dense_crf

TOLERANCES = {"lattice": 0.005, "exact": 0.01}
"""pydensecrf approximates its kernels on the same lattice as ours. The exact algorithm
does not make that error, and differs by it.
"""


def check(goldens: pathlib.Path) -> list[Check]:
    """Share of the pixels whose winning label differs, for both algorithms; `goldens`
    holds crf.npz.
    """
    with np.load(goldens / "crf.npz") as golden:
        arrays = dict(golden)
    rows = []
    for algorithm, tolerance in TOLERANCES.items():
        for alpha in ("alpha1", "alpha24"):
            probabilities = np.ascontiguousarray(arrays[f"score_{alpha}"].transpose(1, 2, 0))
            ours = dense_crf(
                arrays["image"], probabilities, settings=PUBLISHED_CRF, algorithm=algorithm
            )
            differs = ours.argmax(axis=-1) != arrays[f"crf_{alpha}"].argmax(axis=0)
            rows.append(
                Check(
                    f"dense CRF, {algorithm}",
                    f"{alpha}, labels that differ",
                    float(differs.mean()),
                    tolerance,
                )
            )
    return rows
