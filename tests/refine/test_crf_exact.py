import dataclasses

import chex
import crf_oracle as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hfpl_jax.refine.crf_exact as module
from hfpl_jax.refine import PUBLISHED_CRF, CrfSettings, exact_mean_field

SETTINGS = {
    "published": PUBLISHED_CRF,
    "published, final network": oracle.PUBLISHED_FINAL_CRF,
    "default": CrfSettings(),
    "narrow": CrfSettings(3, 0.7, bilateral_sxy=2.5, bilateral_srgb=40.0, bilateral_weight=10.0),
    "smoothness alone": CrfSettings(iterations=2, bilateral_weight=0.0),
    "appearance alone": dataclasses.replace(PUBLISHED_CRF, iterations=2, gaussian_weight=0.0),
}
ROUNDING = {"default": 3e-4}
"""Colours a few grey levels apart are many deviations of this kernel apart, and their
squared distance is a difference of large numbers.
"""


def run(image, probabilities, valid=None, settings=SETTINGS["published"]):
    """Of a batch, or of one image."""
    if image.ndim == 3:
        return run(image[None], probabilities[None], None, settings)[0]
    valid = np.ones(image.shape[:3], bool) if valid is None else valid
    # A function of its own: jit would not see that a test has changed the tiles.
    return np.asarray(
        jax.jit(lambda *arrays: exact_mean_field(*arrays, settings=settings))(
            image, probabilities, valid
        )
    )


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("shape", [(12, 14, 3), (9, 5, 2)])
def test_oracle(name, shape):
    image, probabilities = oracle.example(*shape)
    marginals = run(image, probabilities, settings=SETTINGS[name])
    assert marginals.dtype == np.float32
    np.testing.assert_allclose(
        marginals,
        oracle.dense_crf(image, probabilities, SETTINGS[name]),
        atol=ROUNDING.get(name, 1e-5),
    )


def test_scores_that_do_not_sum_to_one():
    image, probabilities = oracle.example(12, 14, 3)
    scores = (probabilities**24).astype(np.float32)
    assert (scores < 1e-5).all(axis=-1).any()  # the clip decides here
    np.testing.assert_allclose(run(image, scores), oracle.dense_crf(image, scores), atol=1e-4)


def test_far_places_and_colours_keep_their_distances():
    image, probabilities = oracle.example(2, 700, 2)
    image = np.where(image > 100, 255 - image // 50, image // 50).astype(
        np.uint8
    )  # near black and near white
    np.testing.assert_allclose(
        run(image, probabilities), oracle.dense_crf(image, probabilities), atol=1e-4
    )


@pytest.mark.parametrize("tile", [(7, 7), (16, 32), (40, 80), (63, 63), (100, 400)])
def test_tiles_do_not_matter(monkeypatch, tile):
    image, probabilities = oracle.example(7, 9, 3)  # 63 pixels
    monkeypatch.setattr(module, "QUERY_PIXELS", tile[0])
    monkeypatch.setattr(module, "KEY_PIXELS", tile[1])
    np.testing.assert_allclose(
        run(image, probabilities), oracle.dense_crf(image, probabilities), atol=1e-5
    )


@pytest.mark.parametrize("garbage", [(0, 0.0), (255, 1.0), (128, -7.0)])
def test_padding_has_no_influence(garbage):
    sizes = [(12, 14), (7, 10)]
    images, probabilities = (
        np.full((2, 12, 16, 3), garbage[0], np.uint8),
        np.full((2, 12, 16, 3), garbage[1], np.float32),
    )
    valid = np.zeros((2, 12, 16), bool)
    for i, (h, w) in enumerate(sizes):
        images[i, :h, :w], probabilities[i, :h, :w] = oracle.example(h, w, 3, seed=i)
        valid[i, :h, :w] = True
    marginals = run(images, probabilities, valid)
    assert (marginals[~valid] == 0).all()
    for i, (h, w) in enumerate(sizes):
        np.testing.assert_allclose(
            marginals[i, :h, :w], oracle.dense_crf(*oracle.example(h, w, 3, seed=i)), atol=1e-5
        )


EDGE_CASES = {
    "one pixel": (np.zeros((1, 1, 3)), np.array([[[0.0, 1.0]]])),
    "flat image": (np.full((5, 6, 3), 90), oracle.example(5, 6, 3)[1]),
    "certain scores": (oracle.example(5, 6, 3)[0], np.eye(3)[np.indices((5, 6)).sum(0) % 3]),
    "no scores": (oracle.example(5, 6, 3)[0], np.zeros((5, 6, 3))),
    "black and white": (
        np.indices((5, 6)).sum(0)[..., None] % 2 * np.full(3, 255),
        oracle.example(5, 6, 2)[1],
    ),
}


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases(name):
    image, probabilities = (
        EDGE_CASES[name][0].astype(np.uint8),
        EDGE_CASES[name][1].astype(np.float32),
    )
    marginals = run(image, probabilities)
    np.testing.assert_allclose(marginals.sum(-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(marginals, oracle.dense_crf(image, probabilities), atol=1e-5)


def largest_array(jaxpr):
    sizes = [variable.aval.size for equation in jaxpr.eqns for variable in equation.outvars]
    for equation in jaxpr.eqns:
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda value: hasattr(value, "eqns") or hasattr(value, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)  # of a closed jaxpr
            if hasattr(inner, "eqns"):
                sizes.append(largest_array(inner))
    return max(sizes, default=0)


def test_memory_does_not_grow_with_the_square_of_the_pixels():
    shapes = [
        ((2, 375, 500, 3), jnp.uint8),
        ((2, 375, 500, 21), jnp.float32),
        ((2, 375, 500), bool),
    ]
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    jaxpr = jax.make_jaxpr(
        lambda *arrays: exact_mean_field(*arrays, settings=SETTINGS["published"])
    )(*arguments)
    assert largest_array(jaxpr.jaxpr) == 2 * module.QUERY_PIXELS * module.KEY_PIXELS


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_oracle(self):
        image, probabilities = oracle.example(6, 7, 3)
        settings = dataclasses.replace(PUBLISHED_CRF, iterations=2)
        function = self.variant(lambda *arrays: exact_mean_field(*arrays, settings=settings))
        marginals = function(image[None], probabilities[None], np.ones((1, 6, 7), bool))[0]
        np.testing.assert_allclose(
            marginals, oracle.dense_crf(image, probabilities, settings), atol=1e-5
        )
