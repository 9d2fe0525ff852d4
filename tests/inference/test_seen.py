"""A final network's probabilities as CAMs."""

import numpy as np
import pytest

from hfpl_jax.inference.seen import ahead_of_background
from hfpl_jax.masks import label_map


def test_at_one_half_the_label_map_is_the_networks():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.5), (20, 30)).astype(np.float32)
    cams = ahead_of_background(probabilities)
    assert cams.min() >= 0
    assert cams.max() <= 1
    classes = np.array([2, 3, 7])
    expected = np.array([0, 3, 4, 8])[probabilities.argmax(axis=-1)]
    np.testing.assert_array_equal(label_map(cams, classes, threshold=0.5), expected)
    strongest = probabilities[..., 1:].max(axis=-1, keepdims=True)
    np.testing.assert_allclose(
        cams, probabilities[..., 1:] / (probabilities[..., :1] + strongest), rtol=1e-6
    )


@pytest.mark.parametrize("nothing", [0.0, 1e-40])
def test_finite_at_the_edges(nothing):
    cams = ahead_of_background(np.full((2, 2, 3), nothing, np.float32))
    assert np.isfinite(cams).all()
    assert ahead_of_background(np.ones((2, 2, 1), np.float32)).shape == (2, 2, 0)
