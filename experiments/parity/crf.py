"""The dense CRF against pydensecrf, which the published program calls: 10 iterations on
score maps with alpha 1 and 24.

pydensecrf approximates its kernels on the same lattice as ours, so those two agree. The
exact algorithm does not make that error: it is held to a sum over all pairs in float64,
and how far pydensecrf is from it is information.
"""

import pathlib

import numpy as np

from experiments.parity.brute_crf import dense_crf as brute_crf
from experiments.parity.check import Check, relative_error
from hfpl_jax.refine import PUBLISHED_CRF, dense_crf

PART = (slice(40, 80), slice(50, 110))
"""Rows and columns that the sum over all pairs has memory for."""


def check(goldens: pathlib.Path) -> list[Check]:
    """`goldens` holds crf.npz. For both algorithms the share of the pixels whose
    winning label is not pydensecrf's, and the error of the exact one's marginals.
    """
    with np.load(goldens / "crf.npz") as golden:
        arrays = dict(golden)
    image, rows = arrays["image"], []
    for alpha in ("alpha1", "alpha24"):
        scores = np.ascontiguousarray(arrays[f"score_{alpha}"].transpose(1, 2, 0))
        theirs = arrays[f"crf_{alpha}"].argmax(axis=0)
        for algorithm, tolerance in (("lattice", 0.005), ("exact", None)):
            ours = dense_crf(image, scores, settings=PUBLISHED_CRF, algorithm=algorithm)
            differ = float(np.mean(ours.argmax(axis=-1) != theirs))
            quantity = f"{alpha}, labels that differ"
            rows.append(Check(f"dense CRF, {algorithm}", quantity, differ, tolerance))
        part = image[PART], scores[PART]
        ours = dense_crf(*part, settings=PUBLISHED_CRF, algorithm="exact")
        error = relative_error(ours, brute_crf(*part))
        rows.append(Check("dense CRF, exact", f"{alpha}, sum over all pairs", error, 1e-4))
    return rows
