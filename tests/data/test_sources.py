import itertools

import grain
import numpy as np
import pytest

from hfpl_jax.data.batches import batch_stream
from hfpl_jax.data.sources import Source, joint_stream
from hfpl_jax.errors import InputError


class Draw(grain.transforms.RandomMap):
    """A number -> itself and a random number."""

    def random_map(self, number, rng):
        return {"number": np.int32(number), "drawn": np.int32(rng.integers(1 << 30))}


FIRST = Source(range(12), Draw(), 4, "config.train.batch_size")
SECOND = Source(range(12), Draw(), 2, "config.train.second_batch_size")


def batches(beside, count=7, seed=3, **options):
    stream = joint_stream(FIRST, beside, seed=seed, **options)
    found = list(itertools.islice(stream, count))
    stream.close()
    return found


def of(name, found):
    """What a source gave, as lists."""
    parts = found if name is None else [batch["beside"][name] for batch in found]
    return [{key: part[key].tolist() for key in ("number", "drawn")} for part in parts]


def test_the_batches_of_one_do_not_depend_on_what_stands_beside():
    both = batches({"a": SECOND, "b": SECOND})
    alone = batch_stream(FIRST.elements, FIRST.transform, batch_size=4, seed=3)
    assert of(None, both) == of(None, list(itertools.islice(alone, 7)))
    alone.close()
    assert of("b", both) == of("b", batches({"b": SECOND}))
    assert "beside" not in batches({}, count=1)[0]


def test_each_has_its_own_order_draws_and_epochs():
    both = batches({"a": SECOND, "b": SECOND}, count=6)
    numbers = {
        name: [number for part in of(name, both) for number in part["number"]]
        for name in (None, "a", "b")
    }
    assert sorted(numbers[None]) == sorted([*range(12)] * 2)
    assert sorted(numbers["a"]) == sorted(numbers["b"]) == [*range(12)]
    assert numbers["a"] != numbers["b"] != numbers[None][:12]
    assert of("a", both) != of("a", batches({"a": SECOND}, count=6, seed=4))


def test_a_later_start_and_parts_of_processes_are_those_of_one():
    whole = batches({"a": SECOND})
    assert of("a", batches({"a": SECOND}, count=3, start_step=4)) == of("a", whole[4:])
    parts = [batches({"a": SECOND}, process_index=p, process_count=2) for p in (0, 1)]
    for name in (None, "a"):
        joined = [
            {key: one[key] + two[key] for key in one}
            for one, two in zip(*(of(name, part) for part in parts), strict=True)
        ]
        assert joined == of(name, whole)


def test_all_are_closed_whatever_one_of_them_raises(monkeypatch):
    closed = []

    class Stream:
        def __init__(self, elements, transform, *, batch_size, seed, rows):
            self.size = batch_size

        def close(self):
            closed.append(self.size)
            if self.size == 2:
                raise RuntimeError("of a worker")

    monkeypatch.setattr("hfpl_jax.data.sources.batch_stream", Stream)
    stream = joint_stream(FIRST, {"a": SECOND}, seed=0)
    with pytest.raises(RuntimeError, match="of a worker"):
        stream.close()
    assert sorted(closed) == [2, 4]


def test_a_source_without_elements():
    empty = Source((), Draw(), 2, "config.train.second_batch_size")
    with pytest.raises(InputError, match="holds no images"):
        batches({"a": empty})
