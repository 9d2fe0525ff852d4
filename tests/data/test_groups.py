import itertools

import numpy as np
import pytest
from test_batches import MemorySplit, assert_equal

from hfpl_jax.data.batches import TrainCrop, batch_stream
from hfpl_jax.data.groups import Alike, ByLabels, GroupCrop, Groups
from hfpl_jax.errors import InputError

LABELS = ((0, 1), (0,), (0, 1), (2,), (), (), (3, 0), (1, 0, 4))


class Numbers:
    """Photographs that are their own numbers."""

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        return index


def drawn(candidates, index, size=3, seed=0, count=8):
    group = Groups(Numbers(count), size, candidates)[index]
    return group.draw(np.random.default_rng(seed))


def partners(candidates, index, **options):
    """All that are ever drawn."""
    return {
        each for seed in range(60) for each in drawn(candidates, index, seed=seed, **options)[1:]
    }


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, {1, 2, 6, 7}),  # of class 0 or of class 1
        (1, {0, 2, 6, 7}),
        (3, {3}),  # nobody else shows class 2: it is its own partner
        (4, {5}),  # neither shows any class
        (6, {0, 1, 2, 7}),  # its class 3 is no other's
    ],
)
def test_partners_share_a_class(index, expected):
    assert partners(ByLabels(LABELS), index) == expected


@pytest.mark.parametrize(("index", "expected"), [(0, {2}), (3, {3}), (4, {5}), (6, {0, 1, 2, 7})])
def test_partners_of_the_same_labels_come_first(index, expected):
    assert partners(ByLabels(LABELS, same_first=True), index) == expected


def test_a_group_shares_one_class():
    """All of it: not one class with this and another with that partner."""
    for index, seed in itertools.product((0, 1, 2, 6, 7), range(20)):
        members = drawn(ByLabels(LABELS), index, seed=seed)
        assert set.intersection(*(set(LABELS[each]) for each in members))


def test_partners_are_different_as_long_as_there_are_some():
    for seed in range(20):
        assert len(set(drawn(ByLabels(LABELS), 1, seed=seed, size=4))) == 4
    many = drawn(ByLabels(((0,),) * 3 + ((1,),) * 5), 0, size=6)
    assert many[0] == 0
    assert sorted(many[1:]) in ([1, 1, 1, 2, 2], [1, 1, 2, 2, 2])
    assert drawn(ByLabels(((0,),)), 0, size=4, count=1) == [0, 0, 0, 0]


def test_photographs_without_a_partner_are_counted():
    assert ByLabels(LABELS).alone == 1
    assert ByLabels(((0,), (1,), ())).alone == 3


def test_those_that_look_alike_come_first_where_they_share_a_class():
    of_class = ByLabels(((0,), (0, 1), (1,), (0,), (2,), (2,)))
    names = [f"{at}.png" for at in range(6)]
    alike = {
        "0.png": ["4.png", "3.png", "1.png", "gone.png"],
        "2.png": ["2.png", "0.png"],
        "4.png": ["0.png"],
    }
    found = Alike.of(names, alike, of_class)
    assert found.lists[:3] == ((3, 1), (), ())
    assert partners(found, 0) == {1, 3}
    assert partners(found, 1) == {0, 2, 3}  # nobody looks like it
    assert partners(found, 2) == {1}
    assert partners(found, 4) == {5}  # nobody that looks like it shares a class


def batches(count, *, size=3, batch_size=6, photographs=10, **options):
    split = MemorySplit(photographs)
    transform = GroupCrop(TrainCrop(4, 24, (20, 36), False))
    stream = batch_stream(
        Groups(split, size, ByLabels.of(example.labels for example in split)),
        transform,
        **({"batch_size": batch_size, "seed": 1, "rows": size} | options),
    )
    result = list(itertools.islice(stream, count))
    stream.close()
    return result


@pytest.mark.parametrize("size", [2, 3])
def test_the_photographs_of_a_group_lie_together(size):
    leaders = []
    for batch in batches(5, size=size, batch_size=2 * size):
        assert batch["image"].shape == (2 * size, 24, 24, 3)
        assert batch["valid"].shape == (2 * size, 24, 24)
        groups = batch["labels"].reshape(2, size, 4)
        assert (groups == groups[:, :1]).all()  # each shows one class of four
        leaders += groups[:, 0].argmax(-1).tolist()
    # An epoch has every photograph as a leader once: their classes are 0, 1, 2, 3, 0, ...
    assert sorted(leaders) == sorted(index % 4 for index in range(10))


def test_a_photograph_that_is_its_own_partner_is_seen_in_two_crops():
    [batch] = batches(1, size=2, batch_size=2, photographs=1)
    assert not np.array_equal(*batch["image"])


def test_partners_change_from_epoch_to_epoch():
    seen = batches(8, photographs=8, batch_size=24)
    assert not any(np.array_equal(seen[0]["image"], later["image"]) for later in seen[1:])


def test_groups_are_a_function_of_seed_and_step():
    whole = batches(6)
    assert_equal(whole[4:], batches(2, start_step=4))
    parts = [batches(6, process_index=index, process_count=2) for index in range(2)]
    for step, expected in enumerate(whole):
        for name, array in expected.items():
            joined = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(joined, array)
    assert not np.array_equal(whole[0]["image"], batches(1, seed=2)[0]["image"])


@pytest.mark.slow
def test_worker_processes_draw_the_same_groups():
    assert_equal(batches(4), batches(4, num_workers=2))


@pytest.mark.parametrize(("batch_size", "processes", "unit"), [(8, 1, 3), (10, 2, 6), (1, 1, 3)])
def test_a_batch_of_broken_groups_is_told(batch_size, processes, unit):
    told = rf"{batch_size} is not made of whole groups of 3 on .* multiple of {unit}\."
    with pytest.raises(InputError, match=told):
        batches(1, batch_size=batch_size, process_count=processes)
