"""Accuracy over episodes."""

import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.few_shot.episodes import episode_accuracy, usable_classes

DRAWN = {"ways": 3, "shots": 2, "queries": 4, "episodes": 30, "seed": 0}


def classes_of(counts):
    return np.repeat(np.arange(len(counts)), counts)


def test_features_that_say_the_class_are_always_right_and_others_are_by_chance():
    classes = classes_of([10, 10, 10, 10])
    told = np.eye(4, dtype=np.float32)[classes]
    assert episode_accuracy(told, classes, range(4), **DRAWN) == (1.0, 0.0)
    noise = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    found = episode_accuracy(noise, classes, range(4), **DRAWN)
    assert found.mean == pytest.approx(1 / 3, abs=0.1)
    assert found.interval == pytest.approx(1.96 * 0.13 / np.sqrt(30), rel=0.5)
    assert episode_accuracy(noise, classes, range(4), **DRAWN) == found
    assert episode_accuracy(noise, classes, range(4), **{**DRAWN, "seed": 1}) != found


def test_no_example_is_asked_about_and_other_classes_are_not_drawn():
    """Each photograph is alike only to itself: it would be right if it were an example."""
    classes = classes_of([6, 6, 6, 50])
    features = np.eye(len(classes), dtype=np.float32)
    features[-50:] = np.nan
    found = episode_accuracy(features, classes, range(3), **DRAWN)
    assert found.mean == pytest.approx(1 / 3)  # all are as far: the first class is taken


def test_classes_with_too_few_photographs_are_named():
    counts = {"cat": 9, "dog": 3, "cow": 6}
    assert usable_classes(counts, ways=2, shots=2, queries=4) == ([0, 2], {"dog": 3})
    with pytest.raises(
        InputError,
        match=r"Episodes of 3 classes need 6 photographs of each that show it alone \(2 examples, "
        r"4 to ask about\), but 2 of 3 classes have as many: too few are of dog 3\. Give more",
    ):
        usable_classes(counts, ways=3, shots=2, queries=4)
