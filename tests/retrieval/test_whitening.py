"""Whitening against the definition of what it does."""

import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.retrieval.whitening import fit_whitening, kept_dimensions


@pytest.fixture
def descriptors():
    """40 rows of 12 numbers, positive and of length 1, each a mixture of all."""
    rng = np.random.default_rng(0)
    drawn = np.abs(rng.normal(size=(40, 12)) @ rng.normal(size=(12, 12)) + 2.0)
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_whitened_descriptors_have_the_unit_covariance(descriptors):
    whitening = fit_whitening(descriptors, 7)
    exact = descriptors.astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(exact, rowvar=False))
    np.testing.assert_allclose(whitening.deviations, np.sqrt(values[::-1][:7]), rtol=1e-4)
    products = np.abs(whitening.components @ vectors[:, ::-1][:, :7])
    np.testing.assert_allclose(products, np.eye(7), atol=1e-3)
    whitened = (exact - whitening.mean) @ whitening.components.T / whitening.deviations
    np.testing.assert_allclose(np.cov(whitened, rowvar=False), np.eye(7), atol=1e-3)
    lengths = np.linalg.norm(whitened, axis=1, keepdims=True)
    ours = whitening.apply(descriptors)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, whitened / lengths, atol=1e-4)


@pytest.mark.parametrize(
    ("photographs", "dimensions"), [(2, 1), (3, 1), (8, 2), (2047, 511), (2048, 512), (9999, 512)]
)
def test_as_many_dimensions_as_photographs_can_tell(photographs, dimensions):
    assert kept_dimensions(photographs) == dimensions


def test_with_all_dimensions_every_two_photographs_would_be_equally_unlike(descriptors):
    few = descriptors[:6].astype(np.float64)
    whitened = fit_whitening(few, 99).apply(few)
    assert whitened.shape == (6, 5)
    np.testing.assert_allclose(whitened @ whitened.T, 1.2 * np.eye(6) - 0.2, atol=1e-9)


def test_photographs_that_differ_in_few_dimensions(descriptors):
    twice = np.concatenate([descriptors[:3]] * 5)
    assert fit_whitening(twice, 10).components.shape == (2, 12)


def test_photographs_that_are_all_the_same(descriptors):
    for same in (descriptors[:1], descriptors[[4] * 9], np.zeros((5, 12), np.float32)):
        with pytest.raises(InputError) as told:
            fit_whitening(same, 3)
        assert str(told.value) == (
            f"Neighbours cannot be told: the {len(same)} photographs of the training split have "
            "the same features. Give more photographs, or do without the neighbours."
        )


def test_a_row_of_zeros_is_no_fault(descriptors):
    rows = np.concatenate([descriptors, np.zeros((1, 12), np.float32)])
    assert np.isfinite(fit_whitening(rows, 5).apply(rows)).all()
