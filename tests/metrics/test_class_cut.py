import numpy as np
import pytest

from hfpl_jax.metrics.class_cut import CUTS, best_cut, cut_counts


def counts_of(rows):
    return sum(
        cut_counts(np.array(probabilities, np.float32), np.array(labels, np.int64))
        for probabilities, labels in rows
    )


def test_counts_by_the_definition():
    counts = counts_of([((0.0, 0.255, 1.0), (1,)), ((0.1, 0.9, 0.305), (0, 2))])
    expected = np.zeros((2, 101), np.int64)
    expected[0, [0, 100, 90]] = 1  # 0 exceeds no cut, and 1 all of them; 0.9 all below 0.90
    expected[1, [26, 10, 31]] = 1  # 0.255 exceeds 0.00 ... 0.25; a tie is not exceeded
    np.testing.assert_array_equal(counts, expected)


def test_the_best_f1_of_all_cuts():
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(50):
        there = rng.random(6) < 0.3
        probabilities = np.clip(rng.normal(0.3 + 0.3 * there, 0.2), 0, 1)
        rows.append((probabilities, np.flatnonzero(there)))
    scores = []
    for cut in CUTS:
        found = [np.float32(p) > np.float32(cut) for p, _ in rows]
        truth = [np.isin(np.arange(6), labels) for _, labels in rows]
        right = sum((f & t).sum() for f, t in zip(found, truth, strict=True))
        wrong = sum((f ^ t).sum() for f, t in zip(found, truth, strict=True))
        scores.append(2 * right / (2 * right + wrong))
    cut, f1 = best_cut(counts_of(rows))
    assert f1 == pytest.approx(max(scores))
    assert scores[round(100 * cut)] == max(scores)


def test_of_equally_good_cuts_the_middle_one():
    assert best_cut(counts_of([((0.205, 0.805), (1,))])) == (0.5, 1.0)  # of 0.21 ... 0.80


def test_without_any_label_it_is_a_half():
    assert best_cut(counts_of([((0.2, 0.9), ())])) == (0.5, 0.0)
