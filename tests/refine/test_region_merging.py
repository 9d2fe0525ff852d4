"""How superpixels become regions."""

import pathlib

import numpy as np
import pytest
import region_oracle

from hfpl_jax.refine.over_segmentation import lab_of, superpixels
from hfpl_jax.refine.region_merging import (
    Borders,
    borders_of,
    content,
    grown_regions,
    growth,
    means_of,
    scores_of,
)

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "regionmerge_ours.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def test_the_first_scores_of_the_golden(golden):
    pairs, lengths = borders_of(golden["superpixels"])
    np.testing.assert_array_equal(pairs, golden["pairs"])
    means, sizes = means_of(golden["features"], golden["superpixels"])
    alike = content(means, pairs)
    scores = scores_of(alike, alike, Borders(pairs, lengths), len(sizes))
    np.testing.assert_allclose(scores, golden["first_scores"], rtol=1e-12)


def test_every_round_of_the_golden(golden):
    rounds = list(growth(golden["features"], golden["superpixels"]))
    rows = [(each.threshold, each.factor, each.merged) for each in rounds]
    np.testing.assert_allclose(rows, golden["history"], rtol=1e-12)
    np.testing.assert_array_equal(rounds[-1].region, golden["assign"])
    np.testing.assert_array_equal(rounds[-1].region[golden["superpixels"]], golden["final"])


@pytest.mark.parametrize("seed", range(4))
def test_one_pair_at_a_time(seed):
    rng = np.random.default_rng(seed)
    coarse = rng.random((4, 5, 3))
    features = np.kron(coarse, np.ones((6, 5, 1))) + 0.03 * rng.standard_normal((24, 25, 3))
    pieces = np.repeat(np.repeat(rng.permutation(48).reshape(6, 8), 4, axis=0), 4, axis=1)
    pieces = pieces[:24, :25]
    pieces = np.unique(pieces, return_inverse=True)[1].reshape(24, 25)
    tau, last = (0.15, 0.9) if seed % 2 else (0.3, 0.5)
    lowest, history = region_oracle.grow(features, pieces, tau, last)
    rounds = list(growth(features, pieces, tau=tau, last=last))
    rows = [(each.threshold, each.factor, each.merged) for each in rounds]
    np.testing.assert_allclose(rows, history, rtol=1e-12)
    regions = grown_regions(features, pieces, tau=tau, last=last)
    assert 1 < len(set(lowest)) < len(lowest)
    first = np.array([int(np.flatnonzero(regions == number)[0]) for number in regions])
    np.testing.assert_array_equal(first, lowest)


def test_one_superpixel_is_one_region():
    features = np.random.default_rng(0).random((3, 4, 3))
    assert grown_regions(features, np.zeros((3, 4), int)).tolist() == [0]
    assert list(growth(features, np.zeros((3, 4), int))) == []


def test_a_flat_photograph_becomes_one_region():
    pieces = np.arange(60).reshape(6, 10) // 3
    _, pieces = np.unique(pieces, return_inverse=True)
    regions = grown_regions(np.full((6, 10, 3), 0.4), pieces.reshape(6, 10))
    assert set(regions) == {0}


def test_colours_that_are_far_apart_stay_apart():
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 15:] = (250, 250, 0)
    pieces = superpixels(image, 40)
    regions = grown_regions(lab_of(image), pieces)[pieces]
    np.testing.assert_array_equal(regions[:, :14], 0)
    np.testing.assert_array_equal(regions[:, 16:], 1)
