import dataclasses

import crf_oracle as oracle
import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.refine import PUBLISHED_CRF, CrfSettings, dense_crf
from hfpl_jax.refine.crf_lattice import lattice_mean_field


def test_algorithms():
    image, probabilities = oracle.example(12, 14, 3)
    settings = dataclasses.replace(PUBLISHED_CRF, iterations=4)
    exact = dense_crf(image, probabilities, settings=settings, algorithm="exact")
    lattice = dense_crf(image, probabilities, settings=settings)
    for marginals in (exact, lattice):
        assert isinstance(marginals, np.ndarray)
        assert marginals.dtype == np.float32
    np.testing.assert_allclose(exact, oracle.dense_crf(image, probabilities, settings), atol=1e-5)
    np.testing.assert_array_equal(
        lattice, lattice_mean_field(image, probabilities, settings=settings)
    )


def test_arrays_that_are_views():
    image, probabilities = oracle.example(12, 14, 3)
    views = (
        image[:, ::-1],
        np.ascontiguousarray(probabilities.transpose(2, 0, 1)).transpose(1, 2, 0)[:, ::-1],
    )
    expected = dense_crf(
        np.ascontiguousarray(views[0]), np.ascontiguousarray(views[1]), settings=PUBLISHED_CRF
    )
    np.testing.assert_allclose(dense_crf(*views, settings=PUBLISHED_CRF), expected, atol=1e-6)


def with_value(value):
    probabilities = oracle.example(4, 5, 2)[1]
    probabilities[1, 2, 1] = value
    return probabilities


IMAGE, PROBABILITIES = oracle.example(4, 5, 2)
BAD_INPUTS = {
    "other size": (
        IMAGE,
        oracle.example(5, 4, 2)[1],
        r"are 5 x 4, its image is 4 x 5 .* resize the probabilities",
    ),
    "float image": (IMAGE / 255, PROBABILITIES, r"float64: it must be \[h, w, 3\] and uint8"),
    "grey image": (IMAGE[..., 0], PROBABILITIES, r"shape \(4, 5\).*convert\('RGB'\)"),
    "alpha channel": (
        np.concatenate([IMAGE, IMAGE[..., :1]], -1),
        PROBABILITIES,
        r"shape \(4, 5, 4\)",
    ),
    "float64": (IMAGE, PROBABILITIES.astype(np.float64), "float64.*astype"),
    "integers": (IMAGE, (PROBABILITIES > 0.5).astype(np.uint8), "uint8.*astype"),
    "batches": (IMAGE, PROBABILITIES[None, None], "labels last"),
    "one label": (IMAGE, PROBABILITIES[..., :1], "at least two labels"),
    "no pixels": (IMAGE[:0], PROBABILITIES[:0], "must be pixels"),
    "nan": (IMAGE, with_value(np.nan), "not nan"),
    "infinity": (IMAGE, with_value(np.inf), "rather than logits"),
    "negative": (IMAGE, with_value(-0.01), r"in \[-0\.0099.* rather than logits"),
    "above one": (IMAGE, with_value(1.01), "rather than logits"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_told_with_its_cure(name):
    image, probabilities, message = BAD_INPUTS[name]
    for algorithm in ("lattice", "exact"):
        with pytest.raises(InputError, match=message):
            dense_crf(image, probabilities, settings=PUBLISHED_CRF, algorithm=algorithm)


def test_rounding_beyond_one_is_no_error():
    marginals = dense_crf(IMAGE, with_value(1.0 + 1e-6), settings=PUBLISHED_CRF)
    np.testing.assert_allclose(
        marginals, dense_crf(IMAGE, with_value(1.0), settings=PUBLISHED_CRF), atol=1e-6
    )


@pytest.mark.parametrize("algorithm", ["lattice", "exact"])
def test_several_maps_of_one_image_are_refined_each_for_itself(algorithm):
    maps = np.stack([oracle.example(4, 5, 2, seed=seed)[1] for seed in range(3)])
    together = dense_crf(IMAGE, maps, settings=PUBLISHED_CRF, algorithm=algorithm)
    alone = [dense_crf(IMAGE, one, settings=PUBLISHED_CRF, algorithm=algorithm) for one in maps]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-6)


def test_unknown_algorithm():
    with pytest.raises(InputError, match="'lattice' or 'exact'"):
        dense_crf(IMAGE, PROBABILITIES, settings=PUBLISHED_CRF, algorithm="grid")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", 0),
        ("gaussian_sxy", 0.0),
        ("bilateral_sxy", -1.0),
        ("bilateral_srgb", float("nan")),
        ("bilateral_sxy", float("inf")),
        ("gaussian_weight", -1.0),
        ("bilateral_weight", float("nan")),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(InputError, match=f"CrfSettings.{field} is"):
        CrfSettings(**{field: value})


def test_the_default_and_the_published_one():
    assert CrfSettings() == CrfSettings(10, 3.0, 3.0, 67.0, 3.0, 4.0)
    assert CrfSettings(10, 3.0, 3.0, 80.0, 13.0, 10.0) == PUBLISHED_CRF


def test_an_object_of_a_colour_like_its_background():
    """Why the default is not the published one: 12 grey levels are one colour to it."""
    image = np.full((40, 40, 3), 120, np.uint8)
    image[10:30, 10:30] += 12
    scores = np.full((40, 40, 2), 0.5, np.float32)
    scores[..., 0] = 0.6
    scores[12:28, 12:28] = 0.4, 0.6
    truth = (image[..., 0] > 120).astype(int)
    default, published = (
        dense_crf(image, scores, settings=settings).argmax(axis=-1)
        for settings in (CrfSettings(), PUBLISHED_CRF)
    )
    np.testing.assert_array_equal(default, truth)
    assert not published.any()
