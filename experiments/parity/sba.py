"""PWA, as which SBA is read, held against its formulas as the program of PWA has them:
the choice of channels, descriptors, whitening and the search.
"""

import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.retrieval.descriptors import channel_sums, part_channels, part_descriptors
from hfpl_jax.retrieval.nearest import nearest
from hfpl_jax.retrieval.whitening import fit_whitening

TOLERANCE = 1e-5


def check_sba(goldens: pathlib.Path) -> list[Check]:
    """sba_pwa.npz: feature maps -> channels, descriptors, principal components up to
    their signs, whitened descriptors, ranks. Expansion of queries is not built.
    """
    with np.load(goldens / "sba_pwa.npz") as golden:
        theirs = dict(golden)
    return [
        Check("SBA (PWA) descriptors", name, relative_error(ours, expected), TOLERANCE)
        for name, ours, expected in _quantities(theirs)
    ]


def _quantities(theirs: Mapping[str, np.ndarray]):
    features, fitted = channels_last(theirs["features"]), int(theirs["n_fit"])
    valid = jnp.ones(features.shape[:3], bool)
    sums = np.asarray(channel_sums(features, valid))
    channels = part_channels(sums[:fitted], int(theirs["n_select"]))
    yield "channels", channels, theirs["selected"]
    described = np.asarray(part_descriptors(features, channels, valid))
    yield "descriptors", described, theirs["aggregated"]
    whitening = fit_whitening(described[:fitted], int(theirs["d"]))
    signs = np.sign(np.sum(whitening.components * theirs["pca_components"], axis=1))
    yield "mean", whitening.mean, theirs["pca_mean"]
    yield "components", signs[:, None] * whitening.components, theirs["pca_components"]
    yield "deviations", whitening.deviations, theirs["pca_std"]
    whitened = whitening.apply(described)
    yield "whitened", signs * whitened, theirs["whitened"]
    query = int(theirs["query"])
    others, cosines = nearest(whitened[fitted:], fitted - 1)
    ranked = np.array([query - fitted, *others[query - fitted]])
    yield "ranks", ranked, theirs["rank"]
    squared = np.zeros(len(ranked))
    squared[ranked[1:]] = 2.0 - 2.0 * cosines[query - fitted]
    yield "distances", squared, theirs["dists"]
