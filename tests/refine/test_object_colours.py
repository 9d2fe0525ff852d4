"""Bayes' rule on the colours of one photograph."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models.region_means import region_means
from hfpl_jax.refine.object_colours import colour_bins, object_posterior

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "mcof_ours.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def of(golden, wide=0):
    """The posterior of the golden's photograph, in so much padding."""
    padding = ((0, 0), (0, wide), (0, wide))
    pad = lambda name, kind: np.pad(golden[name][None].astype(kind), padding)  # noqa: E731
    image = np.pad(golden["image"][None], (*padding, (0, 0)))
    own = np.pad(np.ones((1, *golden["region"].shape), bool), padding)
    found = object_posterior(
        pad("saliency", np.float32), pad("region", bool), colour_bins(image), own
    )
    return np.asarray(found)[0, : own.sum(axis=1).max(), : own.sum(axis=2).max()]


def test_the_golden(golden):
    np.testing.assert_array_equal(colour_bins(golden["image"][None])[0], golden["bin_index"])
    posterior = of(golden)
    np.testing.assert_allclose(posterior, golden["posterior"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(golden["region"] | (posterior > 0.5), golden["refined"])
    means, _ = region_means(
        posterior[None, ..., None], golden["superpixels"][None], len(golden["sp_posterior"])
    )
    np.testing.assert_allclose(means[0, :, 0], golden["sp_posterior"], rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing(golden):
    np.testing.assert_array_equal(of(golden, wide=9), of(golden))


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize("prior", [0.0, 0.3, 1.0])
def test_where_all_or_nothing_was_found(found, prior):
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 5, 3), np.uint8)
    shape, everywhere = (1, 4, 5), jnp.ones((1, 4, 5), bool)
    posterior = object_posterior(
        jnp.full(shape, prior), jnp.full(shape, found), colour_bins(image), everywhere
    )
    expected = prior if prior in (0.0, 1.0) else float(found)
    np.testing.assert_allclose(posterior, expected)
