"""MCOF's regions and the merging of superpixels, held against arrays that follow their
formulas as we read them: no program of either was found.
"""

import pathlib
from collections.abc import Mapping

import numpy as np

from experiments.parity.check import Check, relative_error
from hfpl_jax.models.region_means import region_means
from hfpl_jax.refine.object_colours import colour_bins, object_posterior
from hfpl_jax.refine.region_merging import (
    Borders,
    borders_of,
    content,
    growth,
    means_of,
    scores_of,
)

TOLERANCE = 1e-5


def check_mcof(goldens: pathlib.Path) -> list[Check]:
    """mcof_ours.npz: a photograph, a saliency map, a region and superpixels -> bins of
    colours, posterior, the refined region; means over superpixels.
    """
    with np.load(goldens / "mcof_ours.npz") as golden:
        return _checks("MCOF regions", _of_mcof(dict(golden)))


def check_merging(goldens: pathlib.Path) -> list[Check]:
    """regionmerge_ours.npz: features and superpixels -> neighbours, first scores, every
    round of the merging, the final regions.
    """
    with np.load(goldens / "regionmerge_ours.npz") as golden:
        return _checks("region merging", _of_merging(dict(golden)))


def _checks(piece: str, quantities) -> list[Check]:
    return [
        Check(piece, name, relative_error(ours, expected), TOLERANCE)
        for name, ours, expected in quantities
    ]


def _of_mcof(theirs: Mapping[str, np.ndarray]):
    bins, image = int(theirs["bins"]), theirs["image"][None]
    colours = colour_bins(image, bins)
    yield "bins of colours", colours[0], theirs["bin_index"]
    prior, found = theirs["saliency"][None].astype(np.float32), theirs["region"][None]
    everywhere = np.ones(found.shape, bool)
    posterior = np.asarray(object_posterior(prior, found, colours, everywhere, bins))[0]
    yield "posterior", posterior, theirs["posterior"]
    yield "refined region", (found[0] | (posterior > 0.5)).astype(float), theirs["refined"]
    pieces = theirs["superpixels"]
    for name, maps in (("posterior", posterior[..., None]), ("features", theirs["features"])):
        count = int(pieces.max()) + 1
        means, _ = region_means(maps[None].astype(np.float32), pieces[None], count)
        expected = theirs[f"sp_{name}"]
        yield f"means of {name}", np.asarray(means)[0].reshape(expected.shape), expected


def _of_merging(theirs: Mapping[str, np.ndarray]):
    features, pieces, tau = theirs["features"], theirs["superpixels"], float(theirs["tau"])
    borders = Borders(*borders_of(pieces))
    yield "neighbours", borders.pairs, theirs["pairs"]
    means, sizes = means_of(features, pieces)
    alike = content(means, borders.pairs, tau)
    yield "first scores", scores_of(alike, alike, borders, len(sizes)), theirs["first_scores"]
    rounds = list(growth(features, pieces, tau=tau, last=float(theirs["stop"])))
    rows = np.array([(each.threshold, each.factor, each.merged) for each in rounds])
    yield "criterion, factor and merges", rows, theirs["history"]
    yield "regions of superpixels", rounds[-1].region, theirs["assign"]
    yield "regions of pixels", rounds[-1].region[pieces], theirs["final"]
