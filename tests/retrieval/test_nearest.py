"""The search against plain loops."""

import itertools

import numpy as np
import pytest

from hfpl_jax.retrieval import nearest as search
from hfpl_jax.retrieval.nearest import nearest, pairs_above, recall


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(search, "_ROWS", 7)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors():
    """30 of them; three are the same as others."""
    rows = unit(np.random.default_rng(0).normal(size=(30, 5)))
    rows[[8, 21, 29]] = rows[[3, 3, 0]]
    return rows


def sorted_by_hand(vectors, row):
    exact = vectors.astype(np.float64)
    cosines = [round(float(exact[row] @ other), 6) for other in exact]
    return sorted((-cosine, other) for other, cosine in enumerate(cosines) if other != row)


@pytest.mark.parametrize("count", [1, 4, 29, 50])
def test_the_nearest_and_of_equal_ones_the_first(vectors, count, small_blocks):
    indices, cosines = nearest(vectors, count)
    assert indices.shape == cosines.shape == (30, min(count, 29))
    for row in range(30):
        by_hand = sorted_by_hand(vectors, row)[:count]
        np.testing.assert_allclose(cosines[row], [-cosine for cosine, _ in by_hand], atol=2e-6)
        if row in (0, 3, 8, 21, 29):
            assert indices[row, 0] == {0: 29, 3: 8, 8: 3, 21: 3, 29: 0}[row]
        elif not np.any(np.abs(np.diff([cosine for cosine, _ in by_hand])) < 3e-6):
            assert indices[row].tolist() == [other for _, other in by_hand]


def test_blocks_change_nothing(vectors, monkeypatch):
    indices, cosines = nearest(vectors, 6)
    for rows in (1, 7, 29):
        monkeypatch.setattr(search, "_ROWS", rows)
        np.testing.assert_array_equal(nearest(vectors, 6)[0], indices)
        np.testing.assert_allclose(nearest(vectors, 6)[1], cosines, atol=1e-6)


def test_one_photograph_has_no_neighbour(vectors):
    indices, cosines = nearest(vectors[:1], 5)
    assert indices.shape == cosines.shape == (1, 0)


def test_all_are_equally_near():
    indices, _ = nearest(np.tile(np.float32([[0.6, 0.8]]), (5, 1)), 3)
    assert indices.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2]]


def test_recall_of_a_shared_label():
    # Row 4 shares a label with nobody, row 5 has none: neither counts.
    shown = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], bool)
    indices = np.array([[2, 1], [4, 2], [5, 4], [0, 1], [0, 1], [0, 1]])
    assert recall(indices, shown, 1)[0] == 1 / 4  # row 3 alone
    assert recall(indices, shown, 2)[0] == 3 / 4  # rows 0 and 1 too
    assert recall(indices, shown, 9)[0] == 3 / 4


@pytest.mark.parametrize("first", [1, 2, 3])
def test_recall_by_chance(first, small_blocks):
    shown = np.random.default_rng(1).random((9, 3)) < 0.3
    indices = np.array([[other for other in range(9) if other != row] for row in range(9)])
    shares = [[any(a & b) for b in shown] for a in shown]
    partners = [sum(shares[row]) - shares[row][row] for row in range(9)]
    shared = [[shares[row][other] for other in others] for row, others in enumerate(indices)]
    hits = [
        np.mean([any(drawn) for drawn in itertools.combinations(of_row, first)])
        for row, of_row in enumerate(shared)
        if partners[row]
    ]
    assert 0 < len(hits) < 9
    assert recall(indices, shown, first)[1] == pytest.approx(np.mean(hits))


def test_no_recall_where_nobody_shares_a_label():
    found = recall(np.array([[1], [0]]), np.array([[True, False], [False, True]]), 1)
    assert np.isnan(found).all()


def test_pairs_of_two_splits(vectors, small_blocks):
    first, second = vectors[:20], vectors[20:]
    exact = first.astype(np.float64) @ second.astype(np.float64).T
    pairs = pairs_above(first, second, 0.5)
    assert [pair[:2] for pair in pairs[:3]] == [(0, 9), (3, 1), (8, 1)]  # the same vectors
    assert {pair[:2] for pair in pairs} == set(map(tuple, np.argwhere(exact >= 0.5).tolist()))
    cosines = [pair[2] for pair in pairs]
    np.testing.assert_allclose(cosines, np.sort(exact[exact >= 0.5])[::-1], atol=2e-6)
    assert pairs_above(first, second, 1.5) == []
